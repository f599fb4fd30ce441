from collections.abc import Mapping

import pytest

from broker.amqp import Delivery, Refusals
from broker.core.agent import Agent
from broker.core.messages import ChatMessage
from broker.core.registry import AgentRegistry
from broker.core.routing.agents import Agents
from broker.core.routing.failure import FailureReason
from broker.core.routing.policy import Policy
from broker.core.routing.receivers import ReceiverRule
from broker.router.choosing import Choosing, RoutingOptions
from broker.router.dispatcher import Dispatcher
from broker.router.rules import Limits
from broker.status.routing_metrics import routing_metrics
from broker.telemetry.tally import MessageTally
from tests.core.registries import apply, status_update
from tests.router.samples import QUEUES, chat

type Sample = tuple[str, tuple[str, ...]]


class Desk:
    """A dispatcher, and the metrics of what it does."""

    def __init__(self, *online: str, policy: str | Policy = "random") -> None:
        self.now = 0.0
        self.tally = MessageTally()
        options = RoutingOptions(policy=policy, receiver=ReceiverRule.REQUIRE)
        self.choosing = Choosing(options, self.tally, lambda: self.now)
        registry = AgentRegistry(max_agents=9, watchers=self.choosing.watchers)
        apply(registry, status_update(*online))
        self.dispatcher = Dispatcher(
            topology=QUEUES,
            registry=registry,
            tally=self.tally,
            broker_id="broker_0001",
            limits=Limits(1_000, max_agents=9),
            refusals=Refusals(),
            agent_registered=lambda: None,
            unknown_sender=lambda _: None,
            server_available=lambda _: None,
            routing=self.choosing.routing,
            answers=self.choosing.answers,
        )

    def dispatch(self, *bodies: bytes) -> None:
        for body in bodies:
            self.dispatcher.dispatch(Delivery("in", 1, body))

    @property
    def samples(self) -> Mapping[Sample, float]:
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for metric in routing_metrics(self.tally, self.choosing)
            for sample in metric.samples
        }

    @property
    def failures(self) -> list[float]:
        """By reason: nobody online, only the sender, not the receiver, nobody capable."""
        samples = self.samples
        return [samples["broker_routing_failures_total", (reason,)] for reason in FailureReason]


def test_each_reason_of_failures_is_counted() -> None:
    nobody, some = Desk(), Desk("ann")
    nobody.dispatch(chat("ann"))
    some.dispatch(
        chat("ann"),
        *[chat("nobody", receiver_id="ben")] * 2,
        *[chat("nobody", required_capabilities=["ocr"])] * 3,
    )
    assert nobody.failures == [1, 0, 0, 0]
    assert some.failures == [0, 1, 2, 3]


@pytest.mark.parametrize(("policy", "measured"), [("random", 0), ("consistent_hash", 2)])
def test_the_time_of_each_choice_is_measured_unless_it_is_by_chance(
    policy: str, measured: int
) -> None:
    desk = Desk("ann", policy=policy)
    desk.dispatch(chat("nobody"), chat("nobody"), chat("ann"))
    assert desk.samples["broker_policy_seconds_count", ()] == measured
    assert (desk.samples["broker_policy_seconds_sum", ()] > 0) == (measured > 0)


def test_the_policys_errors_are_counted() -> None:
    def fails(message: ChatMessage, agents: Agents, /) -> Agent:
        if message.sender_id == "raises":
            raise RuntimeError
        return Agent("somebody else", 0) if message.sender_id == "invents" else agents.random()

    desk = Desk("ann", policy=fails)
    desk.dispatch(chat("nobody"), chat("raises"), chat("invents"))
    assert desk.samples["broker_policy_errors_total", ()] == 2
    assert desk.samples["broker_policy_seconds_count", ()] == 3


def test_answers_are_measured_while_the_policy_wants_to_know() -> None:
    desk = Desk("ann", policy="least_outstanding")
    desk.dispatch(*(chat("nobody", message_id=one) for one in ("m1", "m2", "m3")))
    assert desk.samples["broker_unanswered_messages", ()] == 3
    desk.now = 7.0
    desk.dispatch(chat("ann", message_id="a1", in_reply_to="m1"))
    samples = desk.samples
    assert samples["broker_unanswered_messages", ()] == 2
    assert samples["broker_agent_answer_seconds_sum", ()] == 7.0
    buckets = {
        bound: samples["broker_agent_answer_seconds_bucket", (bound,)] for bound in ("5.0", "10.0")
    }
    assert buckets == {"5.0": 0, "10.0": 1}


def test_nobody_waits_for_answers_while_nobody_wants_to_know() -> None:
    desk = Desk("ann")
    desk.dispatch(chat("nobody", message_id="m1"), chat("ann", in_reply_to="m1"))
    assert desk.samples["broker_unanswered_messages", ()] == 0
    assert desk.samples["broker_agent_answer_seconds_count", ()] == 0
