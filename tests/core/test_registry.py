"""The agent registry, alone and against a plain dict."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Self
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.core import registry as registry_module
from broker.core.agent import Agent
from broker.core.capabilities import as_capabilities
from broker.core.messages import AgentStatus, StatusUpdate
from broker.core.registry import AgentRegistry, RegistryFullError
from broker.core.routing.failure import FailureReason
from broker.core.routing.route import route
from broker.core.versions import Version
from tests.core.registries import (
    apply,
    chat,
    disconnect,
    online,
    register,
    registry_with,
    status_update,
)

STRANGER = "stranger"


@dataclass
class Believed:
    """What is to be known of one agent."""

    agent_name: str
    last_seen: datetime | None = None
    is_online: bool = False
    capabilities: tuple[str, ...] = ()

    @classmethod
    def of(cls, agent: Agent) -> Self:
        return cls(agent.agent_name, agent.last_seen, agent.is_online, (*agent.capabilities,))


AGENT_IDS = st.sampled_from("abcdefgh")
AGENT_NAMES = st.sampled_from(["Ada", "Bob", "Unknown Agent"])
ABILITIES = ("poems", "sums", "tables")
CAPABILITIES = st.none() | st.sets(st.sampled_from(ABILITIES)).map(lambda some: (*sorted(some),))


@st.composite
def status_updates(draw: st.DrawFn) -> StatusUpdate:
    statuses = draw(
        st.lists(
            st.builds(
                AgentStatus,
                agent_id=AGENT_IDS,
                agent_name=AGENT_NAMES,
                is_online=st.booleans(),
                last_seen=st.none() | st.datetimes(),
                capabilities=CAPABILITIES,
            ),
            unique_by=lambda status: status.agent_id,
            max_size=3,
        )
    )
    return StatusUpdate(
        {status.agent_id: status for status in statuses},
        is_full=draw(st.booleans()),
        skipped=draw(st.integers(0, 5)),
        unclear=draw(st.frozensets(AGENT_IDS, max_size=2)) - {each.agent_id for each in statuses},
    )


def always(value: float) -> Callable[[], float]:
    return lambda: value


def every_choice(registry: AgentRegistry, sender_id: str, candidates: int) -> list[str]:
    """Choose with a random number from the middle of each candidate's share of [0, 1)."""
    chosen = [
        route(chat(sender_id), registry, random=always((share + 0.5) / candidates))
        for share in range(candidates)
    ]
    return [agent.agent_id for agent in chosen if isinstance(agent, Agent)]


class Witness:
    """Knows who is online by what a registry tells of it."""

    def __init__(self) -> None:
        self.online: dict[str, Agent] = {}

    def arrived(self, agent: Agent) -> None:
        assert agent.is_online
        self.online[agent.agent_id] = agent

    def departed(self, agent_id: str) -> None:
        del self.online[agent_id]


def assert_lists_are_right(registry: AgentRegistry) -> None:
    """Assert that each agent stands once where it belongs, and knows where."""
    present = [agent for agent in registry if agent.is_online]
    assert sorted(agent.place for agent in present) == list(range(registry.online_count))
    assert all(registry.online[agent.place] is agent for agent in present)
    absent = [agent for agent in registry if not agent.is_online]
    assert sorted(~agent.place for agent in absent) == list(range(len(absent)))
    for ability in ABILITIES:
        having = registry.having(ability)
        assert all(having[agent.place_having(ability)] is agent for agent in having)
        assert ids(having) == ids(agent for agent in present if ability in agent.capabilities)
    for some in combinations(ABILITIES, 2):
        assert ids(registry.having_all(some)) == ids(agent for agent in present if agent.can(some))
    assert not registry.having("dance")


def ids(agents: Iterable[Agent]) -> list[str]:
    return sorted(agent.agent_id for agent in agents)


@pytest.fixture
def slices_of_two() -> Iterator[None]:
    with mock.patch.object(registry_module, "_SLICE", 2):
        yield


def test_agents_that_a_full_update_is_unclear_about_stay_as_they_were() -> None:
    registry = registry_with(*"abcd")
    disconnect(registry, "d")

    apply(registry, StatusUpdate({}, is_full=True, unclear=frozenset("adx")))

    assert online(registry) == ["a"]
    assert registry["a"].agent_name == "A"
    assert "x" not in registry


def test_late_word_of_an_agent_that_a_full_update_is_unclear_about_counts() -> None:
    """Another broker's, of before that update; but not of before the one that was clear."""
    registry = AgentRegistry(max_agents=100)
    unclear = StatusUpdate({}, is_full=True, unclear=frozenset("ab"))
    apply(registry, status_update("a", is_full=True), Version(10, "server"))
    for at in (20, 30):
        apply(registry, unclear, Version(at, "server"))

    for agent_id in "abc":
        registry.disconnect(agent_id, Version(9, "other"))
    assert online(registry) == ["a"]
    registry.disconnect("a", Version(15, "other"))
    registry.register("b", "B", Version(15, "other"))
    registry.register("c", "C", Version(15, "other"))

    assert online(registry) == ["b"]


def test_an_unknown_agent_that_disconnects_becomes_known_if_there_is_room() -> None:
    registry = AgentRegistry(max_agents=2)

    for agent_id in "abc":
        disconnect(registry, agent_id)

    assert known(registry) == {"a", "b"}
    assert registry.online_count == 0


def full_registry(*agent_ids: str) -> AgentRegistry:
    return registry_with(*agent_ids, max_agents=len(agent_ids))


def known(registry: AgentRegistry) -> set[str]:
    return {agent.agent_id for agent in registry}


def test_who_is_offline_makes_room_for_somebody_new() -> None:
    registry = full_registry(*"abc")
    disconnect(registry, "b")
    disconnect(registry, "c")

    register(registry, "d")

    assert known(registry) == {"a", "c", "d"}
    assert every_choice(registry, STRANGER, 2) == ["a", "d"]


def test_there_is_no_room_while_all_are_online() -> None:
    registry = full_registry(*"ab")

    with pytest.raises(RegistryFullError):
        register(registry, "c")
    assert apply(registry, status_update(*"bcd")) == 2

    assert known(registry) == {"a", "b"}
    assert registry["b"].agent_name == "Unknown Agent"
    register(registry, "a", "Ada")
    assert registry["a"].agent_name == "Ada"


def test_a_full_update_with_too_many_agents_is_refused_as_a_whole() -> None:
    registry = full_registry(*"ab")

    with pytest.raises(RegistryFullError):
        registry.applying(status_update("b", "c", "d", is_full=True))

    assert known(registry) == {"a", "b"}
    assert registry.online_count == 2


@pytest.mark.usefixtures("slices_of_two")
def test_a_full_update_may_replace_everybody() -> None:
    registry = full_registry(*"abcde")

    update = status_update(*"fghi", is_full=True)

    counts = [registry.online_count for _ in registry.applying(update)]

    assert min(counts) >= 4, "there is always somebody to route to"
    assert registry.known_count == 5
    assert set(online(registry)) == set("fghi")


@pytest.mark.usefixtures("slices_of_two")
def test_a_big_update_pauses_after_each_slice() -> None:
    registry = registry_with(*"abcde")
    update = status_update(*"fgh", is_full=True)

    # Three agents come in two slices; all eight are looked at in four, and five leave.
    counts = [registry.online_count for _ in registry.applying(update)]
    assert counts == [7, 8, 6, 4, 3, 3]


def test_an_update_pauses_more_often_when_watchers_take_their_time() -> None:
    agents = [str(number) for number in range(120)]
    update = status_update(*agents)
    alone = AgentRegistry(max_agents=1_000)
    watched = AgentRegistry(max_agents=1_000, watchers=[Witness()])
    assert [alone.online_count for _ in alone.applying(update)] == [120]
    assert [watched.online_count for _ in watched.applying(update)] == [50, 100, 120]
    everybody_leaves = status_update(is_full=True)
    counts = [watched.online_count for _ in watched.applying(everybody_leaves)]
    assert counts == [70, 20, 0]


@given(
    updates=st.lists(status_updates() | st.tuples(AGENT_IDS, CAPABILITIES), max_size=30),
    max_agents=st.integers(3, 5),
)
def test_no_more_agents_are_known_than_allowed(
    updates: list[StatusUpdate | tuple[str, tuple[str, ...] | None]], max_agents: int
) -> None:
    witness = Witness()
    registry = AgentRegistry(max_agents, watchers=[witness])
    for update in updates:
        before = set(online(registry))
        if isinstance(update, StatusUpdate):
            try:
                turned_away = apply(registry, update)
            except RegistryFullError:
                assert update.is_full
                assert len(update.agents) + len(update.unclear) > max_agents
                continue
            named = {name for name, agent in update.agents.items() if agent.is_online}
            missing = named - set(online(registry))
            assert len(missing) <= turned_away <= len(update.agents)
            assert not (missing and update.is_full)
        else:
            agent_id, capabilities = update
            with suppress(RegistryFullError):
                register(registry, agent_id, capabilities=capabilities)
                assert registry[agent_id].is_online
            assert agent_id in online(registry) or len(before) == max_agents
        offline = [agent for agent in registry if not agent.is_online]
        assert registry.known_count == registry.online_count + len(offline) <= max_agents
        assert_lists_are_right(registry)
        assert sorted(witness.online) == sorted(online(registry))


class RegistryMachine(RuleBasedStateMachine):
    """Agents register and disconnect, also at the pauses of a status update."""

    slice_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.witness = Witness()
        self.registry = AgentRegistry(max_agents=100, watchers=[self.witness])
        self.model: dict[str, Believed] = {}
        self.applying: Iterator[int] | None = None
        self.unapplied: list[AgentStatus] = []
        self.is_full = False
        self.named: frozenset[str] = frozenset()
        self.may_leave: set[str] | None = None
        self.must_leave: set[str] = set()
        self.came_or_left: set[str] = set()
        self.renamed: set[str] = set()
        self.retold: set[str] = set()
        self.small_slices = mock.patch.object(registry_module, "_SLICE", self.slice_size)
        self.small_slices.start()

    @initialize(agent_ids=st.lists(AGENT_IDS, unique=True, min_size=4))
    def begin_with_some_agents(self, agent_ids: list[str]) -> None:
        for agent_id in agent_ids:
            self.register(agent_id, "Ada", None)

    def teardown(self) -> None:
        self.small_slices.stop()

    def online(self) -> set[str]:
        return {agent_id for agent_id, agent in self.model.items() if agent.is_online}

    def believe(self, status: AgentStatus) -> None:
        agent = self.model.setdefault(status.agent_id, Believed("Unknown Agent"))
        # What happened at a pause is later than the update.
        if status.agent_id not in self.renamed:
            agent.agent_name = status.agent_name
        if status.agent_id not in self.came_or_left:
            agent.last_seen = status.last_seen
            agent.is_online = status.is_online
        if status.agent_id not in self.retold and status.capabilities is not None:
            agent.capabilities = status.capabilities

    @rule(agent_id=AGENT_IDS, agent_name=AGENT_NAMES, capabilities=CAPABILITIES)
    def register(
        self, agent_id: str, agent_name: str, capabilities: tuple[str, ...] | None
    ) -> None:
        register(self.registry, agent_id, agent_name, capabilities)
        agent = self.model.setdefault(agent_id, Believed("Unknown Agent"))
        agent.agent_name = agent_name
        agent.is_online = True
        if capabilities is not None:
            agent.capabilities = capabilities
            self.retold.add(agent_id)
        self.renamed.add(agent_id)
        self.came_or_left.add(agent_id)

    @rule(agent_id=AGENT_IDS)
    def disconnect(self, agent_id: str) -> None:
        disconnect(self.registry, agent_id)
        self.model.setdefault(agent_id, Believed("Unknown Agent")).is_online = False
        self.came_or_left.add(agent_id)

    @precondition(lambda self: self.online())
    @rule(number=st.integers(0, 7))
    def disconnect_one_that_is_online(self, number: int) -> None:
        online = sorted(self.online())
        self.disconnect(online[number % len(online)])

    @precondition(lambda self: self.applying is None)
    @rule(update=status_updates())
    def begin_applying(self, update: StatusUpdate) -> None:
        self.applying = self.registry.applying(update)
        self.unapplied = list(update.agents.values())
        self.is_full = update.is_full
        self.named = update.unclear.union(update.agents)
        self.may_leave = None
        self.must_leave = set()
        self.came_or_left.clear()
        self.renamed.clear()
        self.retold.clear()

    @precondition(lambda self: self.applying is not None)
    @rule()
    def apply_one_slice(self) -> None:
        assert self.applying is not None
        if self.unapplied:
            next(self.applying)
            for status in self.unapplied[: self.slice_size]:
                self.believe(status)
            del self.unapplied[: self.slice_size]
            return
        if self.may_leave is None:
            self.may_leave = self.online() - self.named if self.is_full else set()
            self.must_leave = self.may_leave.copy()
        self.may_leave -= self.came_or_left
        self.must_leave -= self.came_or_left
        paused = next(self.applying, None) is not None
        left = self.online() - set(online(self.registry))
        assert left <= self.may_leave
        assert len(left) <= self.slice_size
        for agent_id in left:
            self.model[agent_id].is_online = False
        if not paused:
            assert not self.must_leave & self.online()
            self.applying = None

    @invariant()
    def knows_what_the_model_knows(self) -> None:
        assert self.registry.known_count == len(self.model)
        assert [agent.agent_id for agent in self.registry] == list(self.model)
        for agent_id, believed in self.model.items():
            assert agent_id in self.registry
            assert believed == Believed.of(self.registry[agent_id])

    @invariant()
    def every_agent_knows_its_place(self) -> None:
        count = self.registry.online_count
        assert count == len(self.online())
        places = [self.registry[i].place for i in every_choice(self.registry, STRANGER, count)]
        assert places == list(range(count))
        assert_lists_are_right(self.registry)

    @invariant()
    def watchers_know_the_same(self) -> None:
        assert self.witness.online.keys() == self.online()
        assert all(self.registry[name] is agent for name, agent in self.witness.online.items())

    @invariant()
    def each_candidate_can_be_chosen_and_no_one_else(self) -> None:
        for sender_id in (*self.model, STRANGER):
            candidates = self.online() - {sender_id}
            chosen = every_choice(self.registry, sender_id, len(candidates))
            assert sorted(chosen) == sorted(candidates)
            if not candidates:
                assert isinstance(
                    route(chat(sender_id), self.registry, random=always(0.0)), FailureReason
                )


def test_watchers_are_told_of_arrivals_departures_and_new_capabilities() -> None:
    told: list[tuple[str, ...]] = []

    class Diary:
        def arrived(self, agent: Agent) -> None:
            told.append(("arrived", agent.agent_id, *agent.capabilities))

        def departed(self, agent_id: str) -> None:
            told.append(("departed", agent_id))

    registry = AgentRegistry(max_agents=10, watchers=[Diary()])
    register(registry, "a")
    register(registry, "a", "Ada")
    register(registry, "a", capabilities=("sums",))
    register(registry, "a", capabilities=("sums",))
    disconnect(registry, "a")
    disconnect(registry, "a")
    register(registry, "b", capabilities=("poems",))
    disconnect(registry, "b")
    apply(registry, StatusUpdate({"a": AgentStatus("a", capabilities=("tables",))}))
    apply(registry, status_update("a"))
    apply(registry, status_update(is_full=True))
    assert told == [
        ("arrived", "a"),
        ("arrived", "a", "sums"),
        ("departed", "a"),
        ("arrived", "b", "poems"),
        ("departed", "b"),
        ("arrived", "a", "tables"),
        ("departed", "a"),
    ]


@pytest.mark.usefixtures("slices_of_two")
def test_an_agent_that_takes_another_form_during_an_update_still_leaves_with_it() -> None:
    registry = registry_with(*"abcd")
    applying = registry.applying(status_update("x", is_full=True))
    next(applying)
    late = Version(1, "other")
    for agent_id in "abcd":
        registry.register(agent_id, "", late, ("sums",))
    assert len(registry.having("sums")) == 4
    for _ in applying:
        assert_lists_are_right(registry)
    assert online(registry) == ["x"]
    assert not registry.having("sums")
    assert registry["a"].capabilities == ("sums",)


def test_agents_with_the_same_capabilities_share_them() -> None:
    registry = AgentRegistry(max_agents=10)
    for agent_id in "ab":
        register(registry, agent_id, capabilities=as_capabilities(["tables", "sums", "sums"]))
    assert registry["a"].capabilities == ("sums", "tables")
    assert registry["a"].capabilities is registry["b"].capabilities


def test_those_online_and_the_others_are_listed_apart() -> None:
    registry = registry_with(*"abcde")
    for name in "bd":
        disconnect(registry, name)
    assert {agent.agent_id for agent in registry.online} == set("ace")
    assert {agent.agent_id for agent in registry.offline} == set("bd")


def test_routed_messages_are_counted_whether_the_agent_stays_online_or_not() -> None:
    registry = registry_with("a")
    registry.count_routed("a")
    disconnect(registry, "a")
    registry.count_routed("a")
    assert registry["a"].routed == 2


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(stateful_step_count=30)


def test_where_the_latest_change_of_an_agent_comes_from() -> None:
    registry = AgentRegistry(max_agents=9, origin="here")

    def told_by_server(agent_id: str) -> bool:
        return registry.is_told_by_server(registry[agent_id])

    registry.register("ann", "Ann", registry.clock.next())
    assert not told_by_server("ann")
    apply(registry, status_update("ann", "ben"))
    assert told_by_server("ann")
    assert told_by_server("ben")
    registry.disconnect("ben", registry.clock.next())
    assert not told_by_server("ben")
    apply(registry, status_update("ben", is_full=True))
    assert told_by_server("ann"), "it is not among those online"
    assert told_by_server("ben")
    registry.register("ann", "Ann", registry.clock.next())
    assert not told_by_server("ann")
