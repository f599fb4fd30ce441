"""Several registries that hear of the same changes, in different orders and some of them twice."""

from collections.abc import Callable
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from broker.core.messages import AgentStatus, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.versions import NEVER, Version, VersionClock
from tests.core.registries import apply, online

type Change = Callable[[AgentRegistry], object]

REPLICAS = 3
HOUR = 3_600_000_000
AGENTS = "abcd"
AGENT_IDS = st.sampled_from(AGENTS)
AGENT_NAMES = st.sampled_from(["Ada", "Bob"])
CAPABILITIES = st.sampled_from([None, (), ("sums",), ("poems", "sums")])
PLACES = st.integers(0, REPLICAS - 1)
STATUSES = st.dictionaries(AGENT_IDS, st.tuples(AGENT_NAMES, st.booleans()), max_size=4)


def update_of(statuses: dict[str, tuple[str, bool]], *, is_full: bool) -> StatusUpdate:
    agents = {
        agent_id: AgentStatus(agent_id, name, is_online)
        for agent_id, (name, is_online) in statuses.items()
    }
    return StatusUpdate(agents, is_full=is_full)


def names_online(registry: AgentRegistry) -> dict[str, str]:
    return {agent_id: registry[agent_id].agent_name for agent_id in online(registry)}


class ReplicasMachine(RuleBasedStateMachine):
    """Changes become known at one replica; the word of them reaches the others at any time."""

    changes = Bundle("changes")

    def __init__(self) -> None:
        super().__init__()
        self.time = 10 * HOUR
        self.replicas = [AgentRegistry(max_agents=100, origin=f"r{i}") for i in range(REPLICAS)]
        for place, replica in enumerate(self.replicas):
            # Wrong clocks, one of them an hour behind and one an hour ahead.
            replica.clock = VersionClock(f"r{place}", partial(self.now, (place - 1) * HOUR))
        self.unheard: list[tuple[int, Change]] = []
        self.told: dict[str, tuple[Version, tuple[str, ...]]] = {}

    def now(self, error: int) -> int:
        self.time += 1
        return self.time + error

    def tell_all(self, place: int, change: Change) -> Change:
        change(self.replicas[place])
        self.unheard += [(other, change) for other in range(REPLICAS) if other != place]
        return change

    @rule(
        target=changes,
        place=PLACES,
        agent_id=AGENT_IDS,
        name=AGENT_NAMES,
        capabilities=CAPABILITIES,
    )
    def an_agent_registers(
        self, place: int, agent_id: str, name: str, capabilities: tuple[str, ...] | None
    ) -> Change:
        version = self.replicas[place].clock.next()
        if capabilities is not None:
            latest = self.told.get(agent_id, (NEVER, ()))
            self.told[agent_id] = max(latest, (version, capabilities))
        return self.tell_all(
            place, lambda replica: replica.register(agent_id, name, version, capabilities)
        )

    @rule(target=changes, place=PLACES, agent_id=AGENT_IDS)
    def an_agent_disconnects(self, place: int, agent_id: str) -> Change:
        version = self.replicas[place].clock.next()
        return self.tell_all(place, lambda replica: replica.disconnect(agent_id, version))

    @rule(target=changes, place=PLACES, statuses=STATUSES, is_full=st.booleans())
    def the_server_tells_all(
        self, place: int, statuses: dict[str, tuple[str, bool]], is_full: bool
    ) -> Change:
        version = self.replicas[place].clock.next()
        update = update_of(statuses, is_full=is_full)
        return self.tell_all(place, lambda replica: apply(replica, update, version))

    @rule(number=st.integers(0, 1_000))
    def the_word_of_a_change_arrives(self, number: int) -> None:
        if self.unheard:
            place, change = self.unheard.pop(number % len(self.unheard))
            change(self.replicas[place])

    @rule(change=changes, place=PLACES)
    def the_word_arrives_once_more_or_early(self, change: Change, place: int) -> None:
        change(self.replicas[place])

    @rule(order=st.randoms(use_true_random=False))
    def all_that_is_under_way_arrives(self, order: Random) -> None:
        order.shuffle(self.unheard)
        while self.unheard:
            place, change = self.unheard.pop()
            change(self.replicas[place])
        first, *others = map(names_online, self.replicas)
        assert all(other == first for other in others)
        for agent_id in AGENTS:
            _, capabilities = self.told.get(agent_id, (NEVER, ()))
            for replica in self.replicas:
                agent = replica.get(agent_id)
                assert agent is None or agent.capabilities == capabilities, "the last word counts"
                assert agent is not None or not capabilities


TestReplicasMachine = ReplicasMachine.TestCase
TestReplicasMachine.settings = settings(
    max_examples=2 * settings().max_examples, stateful_step_count=40
)


def test_what_the_server_said_later_stays_though_older_word_of_an_agent_comes_after_it() -> None:
    registry = AgentRegistry(max_agents=10, origin="here")
    before = VersionClock("there").next()
    apply(registry, update_of({"a": ("Ada", True)}, is_full=True))

    registry.disconnect("a", before)
    registry.register("b", "Bob", before)
    registry.disconnect("c", before)

    assert names_online(registry) == {"a": "Ada"}
    assert registry.known_count == 1


def test_who_left_stays_away_though_the_word_of_its_coming_arrives_last() -> None:
    registry = AgentRegistry(max_agents=10)
    clock = VersionClock("there")
    came, left = clock.next(), clock.next()

    registry.disconnect("a", left)
    registry.register("a", "Ada", came)

    assert (registry["a"].agent_name, registry["a"].is_online) == ("Ada", False)


def test_what_an_agent_can_do_goes_by_the_last_word_of_it_whoever_said_that() -> None:
    registry = AgentRegistry(max_agents=10)
    early, late = VersionClock("there").next(), Version(10**18, "there")
    told = {"a": AgentStatus("a", is_online=True, capabilities=("sums",))}
    apply(registry, StatusUpdate(told, is_full=True))

    registry.register("a", "Ada", early, ("poems",))
    assert list(registry["a"].capabilities) == ["sums"]
    apply(registry, update_of({"a": ("Ada", True)}, is_full=True))
    assert list(registry["a"].capabilities) == ["sums"], "nothing is said of them"
    registry.register("a", "Ada", late, ())
    assert list(registry["a"].capabilities) == []
    assert not registry.having("sums")


@given(clocks=st.tuples(*[st.integers(0, HOUR)] * 2), statuses=STATUSES)
def test_the_servers_word_is_the_last_whatever_the_clocks_say(
    clocks: tuple[int, int], statuses: dict[str, tuple[str, bool]]
) -> None:
    here = AgentRegistry(max_agents=10)
    here.clock = VersionClock("here", lambda: clocks[0])
    there = VersionClock("there", lambda: clocks[1])
    here.register("a", "Zoe", there.next())

    apply(here, update_of(statuses, is_full=True))

    assert names_online(here) == {
        agent_id: name for agent_id, (name, is_online) in statuses.items() if is_online
    }
