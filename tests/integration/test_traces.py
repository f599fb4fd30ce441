"""Traces of the real process, as its exporter shows them, and a process that makes none."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pamqp.commands import Basic

from broker.sandbox.broker_process import COMMAND
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SENDER}-01", "tracestate": "congo=t61rcWkgMzE"}
TRACING = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_BSP_SCHEDULE_DELAY": "600000",  # whatever is exported is exported at the end
    "OTEL_RESOURCE_ATTRIBUTES": "service.version=9,team=chat",
}


@pytest.fixture(autouse=True)
def no_otel_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process inherits what is no setting of the broker."""
    for variable in list(os.environ):
        if variable.startswith("OTEL_"):
            monkeypatch.delenv(variable)


async def route_one(rig: Rig) -> dict[str, Any]:
    """Send a message with a trace context, and return the headers of what comes of it."""
    await rig.logged("routing_started")
    properties = Basic.Properties(delivery_mode=2, message_id="amqp-1", headers={**HEADERS})
    await rig.publish(rig.input, text(1, "agent_0"), properties=properties)
    [routed] = await rig.take(rig.output, 1)
    assert ids([routed]) == ["m-1"]
    return dict(routed.header.properties.headers or {})


def printed_spans(directory: Path) -> Iterator[dict[str, Any]]:
    """Read what the exporter has printed: JSON over many lines, unlike the log."""
    lines = (directory / "broker.log").read_text().splitlines()
    printed = "\n".join(line for line in lines if not line.startswith('{"'))
    decoder = json.JSONDecoder()
    while printed := printed.strip():
        span, end = decoder.raw_decode(printed)
        yield span
        printed = printed[end:]


async def test_the_chain_from_the_sender_to_the_receiver(rig: Rig, server: CentralServer) -> None:
    bring_online(server)
    async with rig.broker(server.url, **TRACING) as broker:
        headers = await route_one(rig)
        assert await terminate(broker, within=12) == 0

    process, send = printed_spans(rig.directory)
    assert (process["name"], process["kind"]) == (f"process {rig.input}", "SpanKind.CONSUMER")
    assert (send["name"], send["kind"]) == (f"send {rig.output}", "SpanKind.PRODUCER")
    assert process["context"]["trace_id"] == send["context"]["trace_id"] == f"0x{TRACE}"
    assert process["parent_id"] == f"0x{SENDER}"
    assert send["parent_id"] == process["context"]["span_id"]
    span_id = send["context"]["span_id"].removeprefix("0x")
    assert headers == HEADERS | {"traceparent": f"00-{TRACE}-{span_id}-01"}

    assert process["attributes"]["messaging.message.id"] == "amqp-1"
    assert process["attributes"]["messaging.rabbitmq.message.delivery_tag"] == 1
    for span in (process, send):
        assert span["attributes"]["server.port"] == rig.node.port
        resource = span["resource"]["attributes"]
        assert resource["service.name"] == "agent-broker"
        assert (resource["service.version"], resource["team"]) == ("9", "chat")


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"OTEL_SERVICE_NAME": "x"}, id="no exporter", marks=pytest.mark.exhaustive),
        pytest.param(
            {**TRACING, "OTEL_SDK_DISABLED": "true"}, id="disabled", marks=pytest.mark.exhaustive
        ),
    ],
)
async def test_without_traces_nothing_of_opentelemetry_is_imported(
    variables: dict[str, str], rig: Rig, server: CentralServer
) -> None:
    bring_online(server)
    settings = {**variables, "PYTHONPROFILEIMPORTTIME": "1"}
    async with rig.broker(server.url, command=COMMAND, **settings) as broker:
        assert await route_one(rig) == HEADERS
        assert await terminate(broker, within=12) == 0
    imported = imported_modules(rig.directory)
    assert "broker.tracing.traces" in imported
    assert not any(module.startswith("opentelemetry") for module in imported)


def imported_modules(directory: Path) -> list[str]:
    lines = (directory / "broker.log").read_text().splitlines()
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]


async def test_without_the_extra_the_broker_says_so_and_routes(
    rig: Rig, server: CentralServer
) -> None:
    bring_online(server)
    hiding = rig.directory / "hiding" / "opentelemetry.py"
    hiding.parent.mkdir()
    hiding.write_text("raise ModuleNotFoundError('not here', name=__name__)")
    settings = {**TRACING, "PYTHONPATH": str(hiding.parent)}
    async with rig.broker(server.url, command=COMMAND, **settings) as broker:
        assert await route_one(rig) == HEADERS
        assert await terminate(broker, within=12) == 0
    [line] = [line for line in rig.log() if line["event"].startswith("traces")]
    assert (line["event"], line["level"]) == ("traces_off", "warning")
    assert "opentelemetry is not installed: pip install 'agent-broker[otel]'" in line["reason"]
