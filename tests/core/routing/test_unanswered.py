"""The unanswered messages against a plain list."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from broker.core.agent import Agent
from broker.core.routing.unanswered import NOTHING, Unanswered

AGENT_IDS = "abc"
AGENTS = st.sampled_from(AGENT_IDS)
MESSAGES = st.sampled_from(["m1", "m2", "m3", "m4"])
MOST = 4
MAX_AGE = 10.0


class UnansweredMachine(RuleBasedStateMachine):
    """Messages are routed and answered, agents leave, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.unanswered = Unanswered(MOST, MAX_AGE)
        self.model: list[tuple[str, str, float]] = []  # the oldest first
        self.now = 100.0

    def known(self, agent_id: str, message_id: str) -> list[tuple[str, str, float]]:
        return [one for one in self.model if one[:2] == (agent_id, message_id)]

    @rule(agent_id=AGENTS, message_id=MESSAGES)
    def a_message_is_routed(self, agent_id: str, message_id: str) -> None:
        self.unanswered.routed(agent_id, message_id, self.now)
        for repeated in self.known(agent_id, message_id):
            self.model.remove(repeated)
        self.model.append((agent_id, message_id, self.now))
        del self.model[:-MOST]

    @rule(agent_id=AGENTS, message_id=MESSAGES)
    def an_answer_comes(self, agent_id: str, message_id: str) -> None:
        seconds = self.unanswered.answered(agent_id, message_id, self.now)
        expected = None
        for answered in self.known(agent_id, message_id):
            self.model.remove(answered)
            expected = self.now - answered[2]
        assert seconds == expected

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, MAX_AGE, 3 * MAX_AGE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_old_are_forgotten(self) -> None:
        late = [one for one in self.model if self.now - one[2] > MAX_AGE]
        assert self.unanswered.expire(self.now) == [agent_id for agent_id, _, _ in late]
        self.model = [one for one in self.model if one not in late]

    @rule(agent_id=AGENTS)
    def an_agent_leaves(self, agent_id: str) -> None:
        self.unanswered.departed(agent_id)
        self.model = [one for one in self.model if one[0] != agent_id]

    @rule(agent_id=AGENTS)
    def an_agent_comes(self, agent_id: str) -> None:
        self.unanswered.arrived(Agent(agent_id, 0))

    @invariant()
    def each_agent_has_ahead_of_it_what_it_was_sent(self) -> None:
        assert len(self.unanswered) == len(self.model)
        for agent_id in AGENT_IDS:
            times = [at for receiver, _, at in self.model if receiver == agent_id]
            ahead = self.unanswered.ahead_of(agent_id)
            assert ahead.messages == len(times)
            assert ahead.oldest_at == times[0] if times else ahead is NOTHING


TestUnanswered = UnansweredMachine.TestCase
TestUnanswered.settings = settings(stateful_step_count=40)


def test_of_an_agent_with_nothing_to_do_nothing_is_kept() -> None:
    unanswered = Unanswered(most=3, max_age=60.0)
    for number in range(1_000):
        unanswered.routed(f"agent{number}", "m", float(number))
        unanswered.answered(f"agent{number}", "m", float(number))
        unanswered.routed(f"other{number}", "m", float(number))
    assert len(unanswered) == 3
    assert len(unanswered._by_agent) == 3  # noqa: SLF001


def test_once_the_oldest_is_answered_the_next_one_is_the_oldest() -> None:
    unanswered = Unanswered(most=9, max_age=60.0)
    for at in (1.0, 2.0, 3.0):
        unanswered.routed("a", f"m{at}", at)
    ahead = unanswered.ahead_of("a")
    assert (ahead.messages, ahead.oldest_at) == (3, 1.0)
    unanswered.answered("a", "m2.0", 4.0)
    ahead = unanswered.ahead_of("a")
    assert (ahead.messages, ahead.oldest_at) == (2, 1.0)
    unanswered.answered("a", "m1.0", 4.0)
    ahead = unanswered.ahead_of("a")
    assert (ahead.messages, ahead.oldest_at) == (1, 3.0)
