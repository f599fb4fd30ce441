"""What is put together for each policy."""

import pytest

from broker.core.agent import Agent
from broker.core.messages import Answer, ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.policy import choose_at_random
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.route import route
from broker.router.choosing import AT_RANDOM, Choosing, RoutingOptions
from broker.router.decision import Decision
from broker.router.rules import Routing
from broker.telemetry.tally import MessageOutcome, MessageTally
from tests.core.registries import chat, disconnect, register


class Rig:
    def __init__(self, options: RoutingOptions) -> None:
        self.now = 0.0
        self.tally = MessageTally()
        self.choosing = Choosing(options, self.tally, lambda: self.now)
        self.registry = AgentRegistry(max_agents=100, watchers=self.choosing.watchers)
        for agent_id in "ab":
            register(self.registry, agent_id)

    def receiver(self, message: ChatMessage) -> str:
        routing = self.choosing.routing
        chosen = route(
            message,
            self.registry,
            random=lambda: 0.0,
            choose=routing.choose,
            rule=routing.receiver,
        )
        assert isinstance(chosen, Agent)
        return chosen.agent_id

    def follow(self, agent_id: str, *, asks: str | None = None, answers: str | None = None) -> None:
        assert self.choosing.answers is not None
        answer = None if answers is None else Answer(agent_id, answers)
        receiver_id = None if asks is None else agent_id
        self.choosing.answers.follow(
            Decision(
                "TEXT", MessageOutcome.ROUTED, receiver_id=receiver_id, asks=asks, answer=answer
            )
        )


def test_at_random_nobody_is_told_anything() -> None:
    choosing = Rig(AT_RANDOM).choosing
    assert choosing.routing == Routing(choose_at_random, ReceiverRule.IGNORE, False)
    assert choosing.watchers == ()
    assert choosing.answers is None


@pytest.mark.parametrize("policy", ["random", "least_outstanding", "consistent_hash"])
@pytest.mark.parametrize("rule", ReceiverRule)
def test_the_rule_for_receivers_is_passed_on(policy: str, rule: ReceiverRule) -> None:
    assert Rig(RoutingOptions(policy=policy, receiver=rule)).choosing.routing.receiver is rule


def test_consistent_hash_follows_agents_and_no_answers() -> None:
    rig = Rig(RoutingOptions(policy="consistent_hash"))
    assert rig.choosing.answers is None
    assert not rig.choosing.routing.follows_answers
    messages = [chat("x", conversation_id=str(number)) for number in range(50)]
    assert {rig.receiver(message) for message in messages} == {"a", "b"}
    disconnect(rig.registry, "a")
    assert {rig.receiver(message) for message in messages} == {"b"}


def test_least_outstanding_follows_agents_and_answers() -> None:
    rig = Rig(RoutingOptions(policy="least_outstanding", answer_timeout=60.0, max_unanswered=2))
    assert rig.choosing.routing.follows_answers
    for agent_id in "ab":
        rig.follow(agent_id, asks="m1")
        rig.now += 1
        rig.follow(agent_id, answers="m1")
        assert rig.choosing.answer_time(agent_id) == 1.0
    rig.follow("a", asks="m2")
    assert rig.choosing.unanswered_count == rig.choosing.outstanding("a") == 1
    assert rig.receiver(chat("x")) == "b"
    for number in range(3):
        rig.follow("b", asks=f"n{number}")
    assert rig.choosing.unanswered_count == rig.choosing.outstanding("b") == 2, "the most"
    assert rig.receiver(chat("x")) == "a"
    rig.now += 61
    rig.follow("a", answers="an unknown one")
    assert rig.choosing.unanswered_count == 0, "too old"
    rig.follow("a", asks="m3")
    disconnect(rig.registry, "a")
    assert rig.choosing.unanswered_count == 0
    assert rig.choosing.answer_time("a") is None
    assert sum(rig.tally.answer_seconds.counts) == 2


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'fastest'"):
        Rig(RoutingOptions(policy="fastest"))


def _last(_: ChatMessage, agents: Agents) -> Agent:
    return list(agents)[-1]


def test_a_policy_of_the_users_own_is_guarded() -> None:
    rig = Rig(RoutingOptions(policy=_last))
    assert rig.choosing.watchers == ()
    assert rig.choosing.answers is None
    assert rig.receiver(chat("x")) == "b"
    assert sum(rig.tally.policy_seconds.counts) == 1
    assert rig.choosing.answer_time("b") is None


class Wants:
    """A policy that is told of one kind of news."""

    def __init__(self, method: str) -> None:
        self.told: list[tuple[object, ...]] = []
        setattr(self, method, self._note)

    def __call__(self, _: ChatMessage, agents: Agents) -> Agent:
        return agents.random()

    def _note(self, *news: object) -> None:
        self.told.append(news)


def test_a_policy_is_told_of_answers_if_it_wants_to() -> None:
    policy = Wants("answered")
    rig = Rig(RoutingOptions(policy=policy))
    rig.follow("a", asks="m1")
    rig.now += 3
    rig.follow("a", answers="m1")
    assert policy.told == [("a", 3.0)]
    assert rig.choosing.outstanding("a") == 0


def test_a_policy_is_told_of_what_is_not_answered_if_it_wants_to() -> None:
    policy = Wants("unanswered")
    rig = Rig(RoutingOptions(policy=policy, answer_timeout=5.0))
    rig.follow("a", asks="m1")
    disconnect(rig.registry, "b")
    rig.follow("b", asks="m2")
    rig.now += 6
    rig.follow("a", asks="m3")
    assert policy.told == [("a",), ("b",)]


def test_a_policy_is_told_who_comes_and_goes_if_it_wants_to() -> None:
    arrivals, departures = Wants("arrived"), Wants("departed")
    for policy in (arrivals, departures):
        disconnect(Rig(RoutingOptions(policy=policy)).registry, "a")
    assert [agent.agent_id for (agent,) in arrivals.told if isinstance(agent, Agent)] == ["a", "b"]
    assert departures.told == [("a",)]
