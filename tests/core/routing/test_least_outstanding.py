"""Which agents get more messages, and which fewer."""

from collections import Counter
from collections.abc import Mapping
from heapq import heappop, heappush
from math import inf
from random import Random

import pytest

from broker.core.agent import Agent
from broker.core.registry import AgentRegistry
from broker.core.routing.least_outstanding import LeastOutstanding
from broker.core.routing.route import route
from broker.core.routing.unanswered import Unanswered
from tests.core.registries import chat, disconnect, register
from tests.core.routing.scenes import Followed

MAX_AGE = 300.0


class Office:
    """Agents, what lies ahead of them, and a clock set by hand."""

    def __init__(self, *agents: str) -> None:
        self.now = 0.0
        self.unanswered = Unanswered(most=100_000, max_age=MAX_AGE)
        self.policy = LeastOutstanding(self.unanswered, lambda: self.now)
        followed = Followed(self.policy, (self.unanswered,))
        self.registry = AgentRegistry(max_agents=1_000, watchers=[followed])
        self.random = Random(20_250_101).random
        self.sent = 0
        for agent_id in agents:
            register(self.registry, agent_id)

    def choose(self) -> str:
        agent = route(chat("sender"), self.registry, random=self.random, choose=self.policy)
        assert isinstance(agent, Agent)
        return agent.agent_id

    def choices(self, count: int = 200) -> Counter[str]:
        return Counter(self.choose() for _ in range(count))

    def ask(self, agent_id: str, count: int = 1) -> list[str]:
        """Route messages to an agent, and return their ids."""
        asked = [f"m{self.sent + number}" for number in range(count)]
        self.sent += count
        for message_id in asked:
            self.unanswered.routed(agent_id, message_id, self.now)
        return asked

    def answer(self, agent_id: str, message_id: str) -> None:
        seconds = self.unanswered.answered(agent_id, message_id, self.now)
        if seconds is not None:
            self.policy.answered(agent_id, seconds)

    def answers_in(self, agent_id: str, seconds: float) -> None:
        """Let an agent answer a message that it was sent so long ago."""
        self.policy.answered(agent_id, seconds)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for agent_id in self.unanswered.expire(self.now):
            self.policy.unanswered(agent_id)


def test_of_equals_each_gets_its_share() -> None:
    shares = Office("a", "b", "c").choices(3_000)
    assert min(shares.values()) > 850


def test_the_one_with_fewer_unanswered_messages_is_chosen() -> None:
    office = Office("a", "b")
    for agent_id in ("a", "b"):
        office.answers_in(agent_id, 2.0)
    office.ask("a")
    assert office.choices().keys() == {"b"}
    office.ask("b", count=2)
    assert office.choices().keys() == {"a"}


def test_a_slower_one_gets_less_but_is_not_left_out() -> None:
    office = Office("fast", "slow")
    office.answers_in("fast", 1.0)
    office.answers_in("slow", 10.0)
    assert office.choices().keys() == {"fast"}
    asked = office.ask("fast", count=9)
    assert office.choices().keys() == {"fast", "slow"}, "ten times 1 s are 10 s"
    office.ask("fast")
    assert office.choices().keys() == {"slow"}
    for message_id in asked:
        office.answer("fast", message_id)
    assert office.choices().keys() == {"fast"}


def test_one_that_waits_long_counts_as_that_slow() -> None:
    office = Office("a", "b")
    office.answers_in("a", 1.0)
    office.answers_in("b", 5.0)
    [message_id] = office.ask("a")
    assert office.choices().keys() == {"a"}
    office.pass_time(3.0)
    assert office.choices().keys() == {"b"}, "2 messages of at least 3 s are more than 1 of 5 s"
    office.answer("a", message_id)
    assert office.policy.answer_time("a") == 3.0


def test_a_longer_answer_time_counts_at_once_and_a_shorter_one_slowly() -> None:
    office = Office("a")
    assert office.policy.answer_time("a") is None
    for seconds in (1.0, 30.0):
        office.answers_in("a", seconds)
        assert office.policy.answer_time("a") == seconds
    office.answers_in("a", 1.0)
    assert office.policy.answer_time("a") == 30.0, "no time has passed since"
    known = 30.0
    for _ in range(10):
        office.pass_time(20.0)
        office.answers_in("a", 1.0)
        learned = office.policy.answer_time("a")
        assert learned is not None
        assert 1.0 < learned < known
        known = learned
    assert known < 5.0


def test_one_that_stops_answering_fades_out_and_is_tried_again() -> None:
    office = Office("a", "b")
    for agent_id in ("a", "b"):
        office.answers_in(agent_id, 1.0)
    office.ask("a")
    office.pass_time(10.0)
    assert office.choices().keys() == {"b"}
    office.ask("b", count=5)
    assert office.choices().keys() == {"b"}, "6 s are less than 2 times 10 s"
    office.pass_time(MAX_AGE)
    assert office.choices().keys() == {"a"}, "nothing waits there any more"


def test_one_that_never_answers_gets_its_share_once_that_is_known() -> None:
    office = Office("silent", "busy", "idle")
    for agent_id in ("busy", "idle"):
        office.answers_in(agent_id, 1.0)
    office.ask("silent")
    office.pass_time(MAX_AGE + 1)
    office.ask("silent", count=50)
    office.pass_time(100.0)
    office.ask("busy", count=5)
    shares = office.choices(3_000)
    assert 850 < shares["silent"] < 1_150
    assert shares["busy"] < shares["idle"]
    # An answer shows that it is as the others.
    office.answers_in("silent", 1.0)
    assert "silent" not in office.choices()


def test_one_that_has_answered_once_does_not_count_as_silent() -> None:
    office = Office("a", "b")
    for agent_id in ("a", "b"):
        office.answers_in(agent_id, 1.0)
    office.ask("a")
    office.pass_time(MAX_AGE + 1)
    office.ask("a")
    assert office.choices().keys() == {"b"}


def test_who_leaves_begins_anew_when_it_comes_back() -> None:
    office = Office("a", "b")
    office.answers_in("a", 60.0)
    office.answers_in("b", 1.0)
    office.ask("a", count=10)
    disconnect(office.registry, "a")
    assert office.choices().keys() == {"b"}
    register(office.registry, "a")
    assert office.policy.answer_time("a") is None
    assert office.unanswered.ahead_of("a").messages == 0
    assert "a" in office.choices()


def test_the_only_one_gets_all_however_it_fares() -> None:
    office = Office("a")
    office.ask("a", count=1_000)
    office.pass_time(100.0)
    assert office.choices().keys() == {"a"}


def shares_at_work(
    seconds_to_answer: Mapping[str, float], rate: float, seconds: float
) -> Counter[str]:
    """Let messages come at a rate, agents answer one after the other, and count who gets how many.

    Args:
        seconds_to_answer: What an agent needs for a message; infinity never answers.
        rate: Messages a second, at random times.
    """
    office = Office(*seconds_to_answer)
    arrivals = Random(20_250_101)
    free_at = dict.fromkeys(seconds_to_answer, 0.0)
    answers: list[tuple[float, str, str]] = []
    shares = Counter[str]()
    while office.now < seconds:
        arrives_at = office.now + arrivals.expovariate(rate)
        while answers and answers[0][0] <= arrives_at:
            at, agent_id, message_id = heappop(answers)
            office.pass_time(at - office.now)
            office.answer(agent_id, message_id)
        office.pass_time(arrives_at - office.now)
        receiver = office.choose()
        shares[receiver] += 1
        [message_id] = office.ask(receiver)
        free_at[receiver] = max(office.now, free_at[receiver]) + seconds_to_answer[receiver]
        if free_at[receiver] < inf:
            heappush(answers, (free_at[receiver], receiver, message_id))
    return shares


@pytest.fixture(scope="module")
def team() -> Mapping[str, float]:
    return {f"agent{number}": 1.0 for number in range(9)}


def test_at_work_an_agent_gets_as_much_as_it_can_answer(team: Mapping[str, float]) -> None:
    shares = shares_at_work({**team, "slow": 10.0}, rate=6.0, seconds=1_000.0)
    fair = shares.total() / 10
    assert 0 < shares["slow"] < 0.3 * fair
    assert min(shares[agent_id] for agent_id in team) > 0.9 * fair


def test_at_work_an_agent_that_never_answers_is_not_starved(team: Mapping[str, float]) -> None:
    shares = shares_at_work({**team, "silent": inf}, rate=6.0, seconds=3_000.0)
    assert shares["silent"] > 0.5 * shares.total() / 10
