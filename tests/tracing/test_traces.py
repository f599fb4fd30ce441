import gc
import json
import logging
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from time import time_ns
from typing import Any

import pytest
import structlog
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.typing import EventDict

from broker.amqp import AmqpEndpoint, Delivery, Publishing, Refusals, Settlement
from broker.router import dispatcher
from broker.router.dispatcher import Dispatcher
from broker.router.rules import Limits
from broker.telemetry.tally import MessageTally
from broker.tracing.spans import MessageSpans
from broker.tracing.traces import open_traces, wanted_exporters
from tests.core.registries import registry_with
from tests.lab.autojump import autojump
from tests.router.samples import QUEUES

SERVER = AmqpEndpoint("rabbit-1", 5673, "me", "hidden", "/", tls=False)
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
BODY = json.dumps({"message_type": "TEXT", "sender_id": "alice", "text_payload": "s3cret"}).encode()


LETTER = Publishing("dead", BODY, "broker_0001")


class Desk:
    """A dispatcher whose decisions are recorded, and the spans that have ended."""

    def __init__(self, provider: TracerProvider) -> None:
        self.tally = MessageTally()
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = MessageSpans(provider, lambda: SERVER)
        self._dispatcher = Dispatcher(
            topology=QUEUES,
            registry=registry_with("bob"),
            tally=self.tally,
            broker_id="broker_0001",
            limits=Limits(1000, max_agents=100),
            refusals=Refusals(),
            agent_registered=lambda: None,
            unknown_sender=lambda _: None,
            server_available=lambda _: None,
            trace=self.spans.record,
        )

    def dispatch(self, queue: str = "in", body: bytes = BODY, **properties: Any) -> Settlement:
        return self._dispatcher.dispatch(Delivery(queue, 7, body, **properties))

    def ended(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        [span] = [span for span in self.ended() if span.name == name]
        return span


@pytest.fixture(autouse=True)
def no_otel_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("OTEL_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def desk() -> Desk:
    return Desk(TracerProvider(shutdown_on_exit=False))


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def settled(desk: Desk, settlement: Settlement) -> None:
    """Say what the AMQP side says when RabbitMQ has confirmed."""
    assert settlement.trace is not None
    desk.spans.confirmed(settlement.trace)


def dead_lettered(desk: Desk, settlement: Settlement) -> Publishing:
    """Do what the AMQP side does when there is no queue for what was decided."""
    assert settlement.trace is not None
    return desk.spans.dead_lettering(settlement.trace, LETTER, "unroutable")


def published(settlement: Settlement) -> Publishing:
    assert settlement.publishing is not None
    return settlement.publishing


def carried(headers: Mapping[str, str]) -> SpanContext:
    return get_current_span(TraceContextTextMapPropagator().extract(headers)).get_span_context()


def context(span: ReadableSpan) -> SpanContext:
    context: SpanContext | None = span.context
    assert context is not None
    return context


def parent(span: ReadableSpan) -> SpanContext:
    assert span.parent is not None
    return span.parent


# One message


def test_a_message_makes_a_span_of_its_decision_and_one_of_its_publishing(desk: Desk) -> None:
    settlement = desk.dispatch(
        headers={"traceparent": PARENT}, message_id="amqp-1", correlation_id="talk-1"
    )
    settled(desk, settlement)

    process, send = desk.ended()

    def common(operation: str, queue: str, body: bytes) -> dict[str, str | int]:
        return {
            "messaging.system": "rabbitmq",
            "messaging.message.conversation_id": "talk-1",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": queue,
            "messaging.message.body.size": len(body),
            "server.address": "rabbit-1",
            "server.port": 5673,
        }

    assert (process.name, process.kind) == ("process in", SpanKind.CONSUMER)
    assert process.attributes == common("process", "in", BODY) | {
        "messaging.rabbitmq.message.delivery_tag": 7,
        "messaging.message.id": "amqp-1",
    }
    assert (send.name, send.kind) == ("send out", SpanKind.PRODUCER)
    assert send.attributes == common("send", "out", published(settlement).body) | {
        "messaging.rabbitmq.destination.routing_key": "out"
    }
    assert {span.status.status_code for span in (process, send)} == {StatusCode.UNSET}


def test_the_chain_from_sender_to_receiver(desk: Desk) -> None:
    settlement = desk.dispatch(headers={"traceparent": PARENT, "tracestate": STATE})
    settled(desk, settlement)

    process, send = desk.ended()
    assert parent(process) == carried({"traceparent": PARENT, "tracestate": STATE})
    assert [link.context for link in process.links] == [parent(process)]
    assert parent(send) == context(process)
    headers = published(settlement).headers
    assert headers.keys() == {"traceparent", "tracestate"}
    assert carried(headers).span_id == context(send).span_id
    assert carried(headers).trace_id == carried({"traceparent": PARENT}).trace_id
    assert headers["tracestate"] == STATE


def test_a_publishing_is_sent_until_it_is_settled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time_ns() - 1_000_000
    monkeypatch.setattr(dispatcher, "time_ns", lambda: began)
    settlement = desk.dispatch()
    [process] = desk.ended()
    assert process.name == "process in"
    settled(desk, settlement)
    send = desk.named("send out")
    assert process.start_time == began
    assert process.end_time is not None
    assert send.start_time is not None
    assert send.end_time is not None
    assert process.end_time <= send.start_time <= send.end_time


@pytest.mark.parametrize("broken", [None, "", "00-abc-def-01", f"{PARENT}-more", "x" * 1000])
def test_without_a_sound_context_a_trace_begins(desk: Desk, broken: str | None) -> None:
    headers = {} if broken is None else {"traceparent": broken, "tracestate": STATE}
    settlement = desk.dispatch(headers=headers)
    process = desk.named("process in")
    assert process.parent is None
    assert not process.links
    assert published(settlement).headers.keys() == {"traceparent"}
    assert carried(published(settlement).headers).trace_id == context(process).trace_id


def test_what_comes_of_a_message_is_else_the_same(desk: Desk) -> None:
    settlement = desk.dispatch(headers={"traceparent": PARENT}, correlation_id="talk-1")
    publishing = published(settlement)
    assert json.loads(publishing.body) == {**json.loads(BODY), "receiver_id": "bob"}
    assert (publishing.queue, publishing.app_id) == ("out", "broker_0001")
    assert publishing.correlation_id == "talk-1"
    assert settlement.delivery.tag == 7


def test_nothing_of_a_payload_is_in_a_span(desk: Desk) -> None:
    settled(desk, desk.dispatch())
    settled(desk, desk.dispatch(body=b"s3cret"))
    texts = [span.to_json() for span in desk.ended()]
    assert len(texts) == 4
    assert not any("s3cret" in text or "alice" in text or "bob" in text for text in texts)


def test_a_delivery_of_which_nothing_comes_has_one_span(desk: Desk) -> None:
    gone = b'{"message_type": "CLIENT_DISCONNECTED", "agent_id": "bob"}'
    settlement = desk.dispatch("meta", gone)
    assert settlement.publishing is None
    assert settlement.trace is None
    assert [span.name for span in desk.ended()] == ["process meta"]


# What goes wrong


def test_a_dead_letter_says_why(desk: Desk) -> None:
    settlement = desk.dispatch(body=b"{", headers={"traceparent": PARENT})
    settled(desk, settlement)

    process, send = desk.ended()
    assert process.attributes is not None
    assert process.attributes["error.type"] == "invalid_json"
    assert process.status.status_code is StatusCode.ERROR
    assert send.name == "send dead"
    assert send.status.status_code is StatusCode.UNSET
    headers = published(settlement).headers
    assert headers["x-broker-reason"] == "invalid_json"
    assert carried(headers).span_id == context(send).span_id


def test_a_message_that_no_queue_takes_is_sent_twice(desk: Desk) -> None:
    settlement = desk.dispatch(headers={"traceparent": PARENT})
    letter = dead_lettered(desk, settlement)
    settled(desk, settlement)

    process, failed, send = desk.ended()
    assert failed.name == "send out"
    assert failed.attributes is not None
    assert failed.attributes["error.type"] == "unroutable"
    assert failed.status.status_code is StatusCode.ERROR
    assert send.name == "send dead"
    assert parent(failed) == parent(send) == context(process)
    assert carried(letter.headers).span_id == context(send).span_id


def test_what_is_never_settled_leaves_nothing_behind(desk: Desk) -> None:
    """As when the session is lost: RabbitMQ delivers again."""
    settlement = desk.dispatch()
    assert settlement.trace is not None
    ended = weakref.ref(settlement.trace)
    del settlement
    gc.collect()
    assert ended() is None
    assert [span.name for span in desk.ended()] == ["process in"]


class Refusing(Sampler):
    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        raise RuntimeError("a sampler of somebody's")

    def get_description(self) -> str:
        return "refusing"


def test_whatever_fails_in_tracing_messages_are_routed(lines: list[EventDict]) -> None:
    desk = Desk(TracerProvider(sampler=Refusing(), shutdown_on_exit=False))
    for _ in range(3):
        settlement = desk.dispatch(headers={"traceparent": PARENT})
        assert json.loads(published(settlement).body)["receiver_id"] == "bob"
        assert published(settlement).headers == {"traceparent": PARENT}
    assert desk.tally.outcomes["routed"] == 3  # type: ignore[index]  # equals the member
    assert [line["event"] for line in lines] == ["tracing_failed"]


class Breaking(SimpleSpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        if span.kind is SpanKind.PRODUCER:
            raise RuntimeError("a processor of somebody's")


@pytest.mark.parametrize("unroutable", [False, True])
def test_whatever_fails_in_tracing_messages_are_settled(
    lines: list[EventDict], *, unroutable: bool
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Breaking(InMemorySpanExporter()))
    desk = Desk(provider)
    settlement = desk.dispatch()
    if unroutable:
        assert dead_lettered(desk, settlement) == LETTER
    settled(desk, settlement)
    assert [line["event"] for line in lines] == ["tracing_failed"]


# Sampling


@pytest.mark.parametrize("sampler", ["always_off", "parentbased_always_off"])
def test_a_trace_that_is_not_sampled_goes_on_unsampled(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    desk = Desk(TracerProvider(shutdown_on_exit=False))
    unsampled = PARENT.removesuffix("01") + "00"
    settlement = desk.dispatch(headers={"traceparent": unsampled, "tracestate": STATE})
    settled(desk, settlement)
    assert not desk.ended()
    headers = published(settlement).headers
    assert carried(headers).trace_id == carried({"traceparent": PARENT}).trace_id
    assert not carried(headers).trace_flags.sampled
    assert headers["tracestate"] == STATE


def test_by_default_the_sender_decides(desk: Desk) -> None:
    settled(desk, desk.dispatch(headers={"traceparent": PARENT.removesuffix("01") + "00"}))
    assert not desk.ended()
    settled(desk, desk.dispatch(headers={"traceparent": PARENT}))
    assert len(desk.ended()) == 2


# Exporting


class Collector(SpanExporter):
    """Takes spans in its own time."""

    def __init__(self) -> None:
        self.taken: list[ReadableSpan] = []
        self.may_take = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.may_take.wait(30)
        self.taken.extend(spans)
        return SpanExportResult.SUCCESS


def exporting_to(collector: SpanExporter) -> MessageSpans:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(collector, schedule_delay_millis=60_000))
    recording = MessageSpans(provider, lambda: SERVER)
    delivery = Delivery("in", 1, BODY)
    recording.record(delivery, Settlement(delivery), 1)
    return recording


async def test_the_last_spans_are_exported_at_the_end(lines: list[EventDict]) -> None:
    collector = Collector()
    collector.may_take.set()
    await exporting_to(collector).close(30)
    assert [span.name for span in collector.taken] == ["process in"]
    assert not lines


@autojump
async def test_a_collector_that_hangs_does_not_hold_up_the_end(lines: list[EventDict]) -> None:
    collector = Collector()
    started = trio.current_time()
    try:
        await exporting_to(collector).close(2)
        assert trio.current_time() - started == 2
        assert not collector.taken
        assert [line["event"] for line in lines] == ["last_traces_dropped"]
    finally:
        collector.may_take.set()


class Failing(SpanExporter):
    def export(self, _: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("cannot export")

    def shutdown(self) -> None:
        raise RuntimeError("cannot shut down")


async def test_an_exporter_that_fails_does_not_spoil_the_end(
    lines: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL + 1, logger="opentelemetry"):
        await exporting_to(Failing()).close(30)
    assert [line["event"] for line in lines] == ["tracing_failed"]


# Turning it on

GRPC = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


@pytest.mark.parametrize(
    ("variables", "exporters"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector"}, []),
        ({"OTEL_TRACES_EXPORTER": ""}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "None", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, []),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["console"]),
        ({"OTEL_TRACES_EXPORTER": " console, otlp "}, ["console", "otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "false"}, ["console"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, ["otlp_proto_http"]),
        (GRPC, ["otlp_proto_grpc"]),
        (GRPC | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, ["otlp_proto_http"]),
    ],
)
def test_which_variables_turn_traces_on(
    variables: Mapping[str, str], exporters: Sequence[str]
) -> None:
    assert list(wanted_exporters(variables)) == exporters


def test_nothing_is_said_when_no_traces_are_wanted(lines: list[EventDict]) -> None:
    assert open_traces({}, lambda: SERVER) is None
    assert not lines


def why_off(lines: list[EventDict], exporter: str) -> str:
    assert open_traces({"OTEL_TRACES_EXPORTER": exporter}, lambda: SERVER) is None
    [line] = lines
    assert (line["event"], line["log_level"]) == ("traces_off", "warning")
    return str(line["reason"])


def test_an_exporter_that_is_missing_is_named(lines: list[EventDict]) -> None:
    assert "the exporter nonesuch is not installed; pip install" in why_off(lines, "nonesuch")


def test_a_package_that_is_missing_is_named(
    lines: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "broker.tracing.spans")
    monkeypatch.delattr("broker.tracing.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    reason = why_off(lines, "console")
    assert "opentelemetry.sdk.trace is not installed: pip install" in reason


def test_a_wrong_value_costs_the_traces_and_nothing_else(
    lines: list[EventDict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert "max_queue_size" in why_off(lines, "console")
