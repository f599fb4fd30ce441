"""The metrics of choosing receivers: failures, the policy, and how agents answer."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from broker.core.routing.failure import FailureReason
from broker.router.choosing import Choosing
from broker.status.metric_families import histogram, labelled
from broker.telemetry.tally import MessageOutcome, MessageTally


def routing_metrics(messages: MessageTally, choosing: Choosing) -> Iterable[Metric]:
    """Yield the metrics as they are now."""
    failures = CounterMetricFamily(
        "broker_routing_failures", "Messages that nobody could receive.", labels=("reason",)
    )
    reasons = {reason.value: messages.outcomes[MessageOutcome(reason)] for reason in FailureReason}
    yield labelled(failures, reasons)
    yield histogram(
        "broker_policy_seconds",
        "What the routing policy takes for a message; `random` is not measured.",
        messages.policy_seconds,
    )
    yield CounterMetricFamily(
        "broker_policy_errors",
        "What the routing policy raised, and choices of agents that may not receive a message.",
        messages.policy_errors,
    )
    yield histogram(
        "broker_agent_answer_seconds",
        "From a message to its agent's answer; only while the routing policy wants to know.",
        messages.answer_seconds,
    )
    yield GaugeMetricFamily(
        "broker_unanswered_messages",
        "Messages that agents may still answer; only while the routing policy wants to know.",
        choosing.unanswered_count,
    )
