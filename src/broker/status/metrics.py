"""The metrics, made of the tallies when Prometheus asks for them."""

import platform
from collections.abc import Callable, Iterable
from math import isfinite
from typing import cast

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from broker.status.metric_families import histogram, labelled, unless_unknown
from broker.status.queue_metrics import queue_metrics
from broker.status.queues import queues
from broker.status.readiness import readiness
from broker.status.routing_metrics import routing_metrics
from broker.status.vitals import Vitals
from broker.telemetry.tally import outcomes
from broker.version import __version__

type Exposition = Callable[[str], tuple[bytes, str]]
"""Writes all metrics, in OpenMetrics or in Prometheus' own text format as an `Accept` header asks;
returns them and their content type."""


def exposition(vitals: Vitals) -> Exposition:
    """Return what writes all metrics.

    In a registry of its own, so that nothing that a library registers with the global one gets in.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BrokerCollector(vitals))
    ProcessCollector(registry=registry)

    def written(accept: str) -> tuple[bytes, str]:
        # The library's own choice fails on a version that is none.
        types = (accepted.partition(";")[0].strip().lower() for accepted in accept.split(","))
        if _OPENMETRICS in types:
            return _write_openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(registry), CONTENT_TYPE_LATEST

    return written


_OPENMETRICS = "application/openmetrics-text"
# The library has no type for it.
_write_openmetrics = cast("Callable[[CollectorRegistry], bytes]", openmetrics.generate_latest)
_OUTCOMES = {
    "broker_message_outcomes": "Messages by outcome.",
    "broker_messages_routed": "Superseded: broker_message_outcomes_total.",
}
"""The metrics of the same numbers. The second has its name from a time without dead letters."""


class BrokerCollector(Collector):
    """The broker's own metrics. No label has a value that comes from outside."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics as they are now."""
        yield from self._messages()
        yield from routing_metrics(self._vitals.messages, self._vitals.router.choosing)
        yield from queue_metrics(queues(self._vitals))
        yield from self._held()
        yield from self._connections()
        yield from self._registry()
        build = {"version": __version__, "python": platform.python_version()}
        yield InfoMetricFamily("broker_build", "The program.", build)

    def _messages(self) -> Iterable[Metric]:
        vitals = self._vitals
        messages, publishings = vitals.messages, vitals.publishings
        received = CounterMetricFamily(
            "broker_messages_received", "Messages taken from a queue.", labels=("queue", "type")
        )
        for labels, count in tuple(messages.received.items()):
            received.add_metric(labels, count)
        yield received
        counts = outcomes(messages, publishings)
        for name, text in _OUTCOMES.items():
            family = CounterMetricFamily(name, text, labels=("outcome",))
            yield labelled(family, counts)
        yield CounterMetricFamily(
            "broker_messages_published",
            "Messages that RabbitMQ has confirmed.",
            publishings.confirmed,
        )
        text = "Messages that the dead-letter queue has taken."
        dead_lettered = CounterMetricFamily("broker_dead_lettered", text, labels=("reason",))
        yield labelled(dead_lettered, publishings.dead_lettered)
        yield CounterMetricFamily(
            "broker_renewed",
            "Messages published anew to their own quorum queue to reset their delivery count.",
            publishings.renewed,
        )
        yield CounterMetricFamily(
            "broker_redelivered",
            "Messages that RabbitMQ had delivered before, to whomever.",
            messages.redelivered,
        )
        yield GaugeMetricFamily(
            "broker_in_flight_messages",
            "Messages taken and not acknowledged yet.",
            vitals.amqp.in_flight,
        )
        yield GaugeMetricFamily(
            "broker_oldest_in_flight_seconds",
            "How long ago the oldest of them was taken; 0 without any.",
            vitals.amqp.oldest_in_flight_seconds or 0.0,
        )
        yield GaugeMetricFamily(
            "broker_prefetch", "Messages held at most, per consumer.", vitals.prefetch
        )
        yield GaugeMetricFamily(
            "broker_input_queues",
            "Input queues, each with a consumer of its own.",
            len(vitals.queues.inputs),
        )
        yield histogram(
            "broker_routing_seconds",
            "What a message takes from the mailbox to its decision.",
            messages.routing_seconds,
        )
        yield histogram(
            "broker_publish_confirm_seconds",
            "From a publishing to its confirm; one at a time is measured.",
            publishings.confirm_seconds,
        )

    def _held(self) -> Iterable[Metric]:
        vitals = self._vitals
        count, deadline = vitals.held_messages, vitals.earliest_deadline
        yield GaugeMetricFamily(
            "broker_held_messages",
            "Messages that nobody can receive yet, of all brokers; NaN while that is not known.",
            unless_unknown(count if vitals.router.holding.seconds else 0),
        )
        yield GaugeMetricFamily(
            "broker_held_earliest_deadline_seconds",
            "When the first of those that this broker knows is due, since 1970; NaN without any.",
            unless_unknown(deadline if isfinite(deadline) else None),
        )

    def _connections(self) -> Iterable[Metric]:
        vitals = self._vitals
        links = {"amqp": vitals.amqp.connectivity, "websocket": vitals.central.connectivity}
        text = "Whether the peer lets the broker work."
        connected = GaugeMetricFamily("broker_connected", text, labels=("transport",))
        yield labelled(connected, {name: link.is_connected for name, link in links.items()})
        text = "Connections that had been established and were lost."
        losses = CounterMetricFamily("broker_connections_lost", text, labels=("transport",))
        yield labelled(losses, {name: link.losses for name, link in links.items()})
        text = "Tries in vain to establish a connection."
        failed = CounterMetricFamily("broker_connection_tries_failed", text, labels=("transport",))
        yield labelled(failed, {name: link.failed_tries for name, link in links.items()})
        text = "Superseded: broker_connections_lost_total and broker_connection_tries_failed_total."
        reconnects = CounterMetricFamily("broker_reconnects", text, labels=("transport",))
        yield labelled(reconnects, {name: link.reconnects for name, link in links.items()})
        yield GaugeMetricFamily(
            "broker_amqp_blocked",
            "Whether RabbitMQ takes no messages because of an alarm.",
            vitals.amqp.is_blocked,
        )
        yield GaugeMetricFamily(
            "broker_ready",
            "Whether all conditions of readiness hold.",
            all(check.problem is None for check in readiness(vitals)),
        )

    def _registry(self) -> Iterable[Metric]:
        vitals = self._vitals
        registry = vitals.router.registry
        online = registry.online_count
        agents = GaugeMetricFamily("broker_agents", "Known agents.", labels=("state",))
        yield labelled(agents, {"online": online, "offline": registry.known_count - online})
        yield GaugeMetricFamily(
            "broker_registry_age_seconds",
            "Since the latest status update of the server; NaN before the first.",
            unless_unknown(vitals.registry_age),
        )
        text = "Frames of the server that were of no use."
        ignored = CounterMetricFamily("broker_server_frames_ignored", text, labels=("reason",))
        yield labelled(ignored, vitals.server.ignored)
        yield CounterMetricFamily(
            "broker_websocket_too_big",
            "Sessions ended by a message over BROKER_WEBSOCKET_MAX_BYTES.",
            vitals.server.too_big,
        )
        yield CounterMetricFamily(
            "broker_agent_statuses_skipped",
            "Entries of status updates that were unusable.",
            vitals.messages.statuses_skipped,
        )
