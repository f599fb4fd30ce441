"""Spans of what becomes of messages, named as OpenTelemetry's conventions for messaging want it.

A delivery makes two spans: *process* while it is decided, and *send* from then until RabbitMQ has
confirmed what came of it. This is the one module that imports OpenTelemetry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

import structlog
import trio
from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from broker.amqp import Delivery, Publishing, Settlement, SettlementObserver
from broker.net.endpoints import AmqpEndpoint
from broker.version import __version__

_SERVICE_NAME = "agent-broker"

type Attributes = Mapping[str, str | int]

_log = structlog.get_logger(__name__)


class ExporterMissingError(Exception):
    """An exporter is not installed; the text is its name."""


def export_spans(exporters: Sequence[str], server: Callable[[], AmqpEndpoint]) -> "MessageSpans":
    """Record spans, and export them from a thread in the background.

    Sampler, limits, resource and all about the export come from the `OTEL_*` variables.

    Args:
        exporters: Names of entry points in the group `opentelemetry_traces_exporter`.

    Raises:
        ExporterMissingError: One of them is not installed.
        Exception: Whatever OpenTelemetry raises for variables with wrong values.
    """
    loaded = [_load(name) for name in exporters]
    own = Resource.create({"service.name": _SERVICE_NAME, "service.version": __version__})
    # At the exit of the interpreter its own shutdown would wait for half a minute.
    provider = TracerProvider(
        resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    for exporter in loaded:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return MessageSpans(provider, server)


def _load(name: str) -> Callable[[], SpanExporter]:
    for entry_point in entry_points(group="opentelemetry_traces_exporter", name=name):
        exporter: Callable[[], SpanExporter] = entry_point.load()
        return exporter
    raise ExporterMissingError(name)


class MessageSpans(SettlementObserver):
    """Records what becomes of each message.

    Whatever goes wrong in here, messages are routed as if it was not there. It is logged once.

    Args:
        server: Tells the RabbitMQ node that messages come from and go to.
    """

    def __init__(self, provider: TracerProvider, server: Callable[[], AmqpEndpoint]) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("broker", __version__)
        # Whatever OTEL_PROPAGATORS says: no other headers cross the broker.
        self._propagator = TraceContextTextMapPropagator()
        self._server = server
        self._has_failed = False

    def record(self, delivery: Delivery, settlement: Settlement, began_at: int) -> Settlement:
        """Record a decision, and return the settlement with the context of its span.

        The span of the decision is a child of the context that the delivery carries. What is
        published carries the context of its own span, a child of that one.

        Args:
            began_at: When it began to be decided, in nanoseconds since the epoch.
        """
        try:
            process = self._record_process(delivery, began_at, settlement.rejected)
            if settlement.publishing is not None:
                span, publishing = self.start_send(settlement.publishing, process)
                trace = _Sending(process, span)
                settlement = replace(settlement, publishing=publishing, trace=trace)
        except Exception:  # noqa: BLE001 - a sampler, for one, may be anybody's
            self.failed()
        return settlement

    def dead_lettering(self, trace: object, letter: Publishing, reason: str) -> Publishing:
        """End the span of what RabbitMQ did not take, and begin that of the dead letter."""
        try:
            if isinstance(trace, _Sending):
                trace.span.set_attribute("error.type", reason)
                trace.span.set_status(StatusCode.ERROR)
                trace.span.end()
                trace.span, letter = self.start_send(letter, trace.process)
        except Exception:  # noqa: BLE001 - see the class
            self.failed()
        return letter

    def confirmed(self, trace: object) -> None:
        """End the span of what RabbitMQ has confirmed."""
        try:
            if isinstance(trace, _Sending):
                trace.span.end()
        except Exception:  # noqa: BLE001 - see the class
            self.failed()

    def start_send(self, publishing: Publishing, parent: Context) -> tuple[Span, Publishing]:
        """Start the span of a publishing, and return both, the publishing with the context."""
        span = self._tracer.start_span(
            f"send {publishing.queue}",
            parent,
            SpanKind.PRODUCER,
            {
                **self._common("send", publishing.queue, publishing.body),
                "messaging.rabbitmq.destination.routing_key": publishing.queue,
                **_conversation(publishing.correlation_id),
            },
        )
        headers = dict(publishing.headers)
        for name in self._propagator.fields:
            # The state of a context that could not be read says nothing about the new one.
            headers.pop(name, None)
        self._propagator.inject(headers, set_span_in_context(span))
        return span, replace(publishing, headers=headers)

    def failed(self) -> None:
        """Log the exception under way, if it is the first."""
        if not self._has_failed:
            self._has_failed = True
            _log.exception("tracing_failed")

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - it does not raise TimeoutError
        """Export the last spans; a collector that is away must not hold up the stop."""
        with trio.move_on_after(timeout, shield=True) as closing:
            await trio.to_thread.run_sync(self._shut_down, abandon_on_cancel=True)
        if closing.cancelled_caught:
            _log.warning("last_traces_dropped", after_seconds=timeout)

    def _shut_down(self) -> None:
        try:
            self._provider.shutdown()
        except Exception:  # noqa: BLE001 - an exporter may be anybody's, and the stop must go on
            self.failed()

    def _record_process(self, delivery: Delivery, started_at: int, reason: str | None) -> Context:
        incoming = self._propagator.extract(delivery.headers)
        creation = get_current_span(incoming).get_span_context()
        attributes: dict[str, str | int] = {
            **self._common("process", delivery.source, delivery.body),
            "messaging.rabbitmq.message.delivery_tag": delivery.tag,
            **_conversation(delivery.correlation_id),
        }
        if delivery.message_id is not None:
            attributes["messaging.message.id"] = delivery.message_id
        if reason is not None:
            attributes["error.type"] = reason
        span = self._tracer.start_span(
            f"process {delivery.source}",
            incoming,
            SpanKind.CONSUMER,
            attributes,
            # The conventions want the link in any case; for a single message it may be the parent.
            links=[Link(creation)] if creation.is_valid else [],
            start_time=started_at,
        )
        if reason is not None:
            span.set_status(StatusCode.ERROR)
        span.end()
        return set_span_in_context(span)

    def _common(self, operation: str, queue: str, body: bytes) -> Attributes:
        server = self._server()
        return {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": queue,
            "messaging.message.body.size": len(body),
            "server.address": server.host,
            "server.port": server.port,
        }


@dataclass(slots=True, weakref_slot=True)
class _Sending:
    """What is being published for one delivery.

    When the session is lost before the confirm, the span is dropped together with the settlement:
    RabbitMQ delivers again.
    """

    process: Context
    span: Span


def _conversation(correlation_id: str | None) -> Attributes:
    return {} if correlation_id is None else {"messaging.message.conversation_id": correlation_id}
