"""Starting, supervising and stopping; RabbitMQ and the central server are played by hand."""

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
import trio
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from broker import service
from broker.assembly import Parts, StopTimes, assemble
from broker.concurrency.error_groups import first_error
from broker.core.routing.policy import Policy
from broker.router.task import Router
from broker.service import EXIT_FAILED, EXIT_STOPPED, request_stop, run_parts
from broker.settings import Settings, load_settings
from tests.lab.autojump import autojump
from tests.lab.fake_amqp import Node
from tests.lab.websocket_peers import Network, Server

GRACE = 7.0

type Part = Callable[[], Awaitable[None]]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for variable in list(os.environ):
        if variable.startswith(("BROKER_", "RABBITMQ_", "AMQP_", "WEBSOCKET_")):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)  # away from any `.env`
    return load_settings(
        {
            "websocket_url": "ws://central/ws",
            "rabbitmq_host": "one,two",
            "broker_shutdown_timeout": str(GRACE),
            "broker_http_port": "off",
            "broker_name": "Test",
        }
    )


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


# The watchdog and the signals


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the watchdog of faulthandler."""
    events: list[str] = []

    def arm(timeout: float, *, exit: bool, **_: object) -> None:  # noqa: A002 - its name
        assert exit
        events.append(f"armed for {timeout:g} s")

    monkeypatch.setattr(faulthandler, "dump_traceback_later", arm)
    monkeypatch.setattr(
        faulthandler, "cancel_dump_traceback_later", lambda: events.append("disarmed")
    )
    return events


def test_the_first_signal_requests_the_stop(watchdog: list[str], lines: list[EventDict]) -> None:
    stop_requested = trio.Event()
    request_stop(stop_requested, GRACE, signal.SIGTERM)
    assert stop_requested.is_set()
    assert watchdog == ["armed for 7 s"]
    assert lines == [{"event": "stopping", "log_level": "info", "signal": "SIGTERM"}]


@pytest.mark.usefixtures("watchdog")
def test_the_second_exits_at_once(monkeypatch: pytest.MonkeyPatch, lines: list[EventDict]) -> None:
    class Exited(BaseException):
        pass

    def exit_at_once(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr(os, "_exit", exit_at_once)
    stop_requested = trio.Event()
    request_stop(stop_requested, GRACE, signal.SIGINT)
    with pytest.raises(Exited, match=str(EXIT_FAILED)):
        request_stop(stop_requested, GRACE, signal.SIGTERM)
    assert lines[-1] == {"event": "leaving_at_once", "log_level": "warning", "signal": "SIGTERM"}


def test_without_standard_error_it_stops_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is None when it was closed before the start; then the real watchdog would refuse."""
    stop_requested = trio.Event()
    monkeypatch.setattr(sys, "stderr", None)
    try:
        request_stop(stop_requested, 3600.0, signal.SIGTERM)
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert stop_requested.is_set()


# The order of the stop


@dataclass
class Stage:
    """A broker that serves, a server that has accepted it, and what happens, in order."""

    node: Node
    server: Server
    stop: trio.Event
    served: list[bool]
    heard: list[str] = field(default_factory=list)

    async def listen(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                message = json.loads(await self.server.websocket.get_message())
                self.heard.append(message["message_type"])
        self.node.events.append("WebSocket closed")

    async def update(self, *online: str, offline: Iterable[str] = (), is_full: bool = True) -> None:
        agents = [{"agent_id": agent_id, "is_online": True} for agent_id in online]
        agents += [{"agent_id": agent_id} for agent_id in offline]
        await self.server.send("AGENT_STATUS_UPDATE", agents=agents, is_full_update=is_full)

    def deliver_chat(self, sender_id: str) -> None:
        body = json.dumps({"message_type": "TEXT", "sender_id": sender_id}).encode()
        self.node.session.deliver("broker_input_queue", body)


@pytest.fixture
def node() -> Node:
    return Node()


async def serve(settings: Settings, node: Node, stop: trio.Event) -> bool:
    """Run a broker whose RabbitMQ is played by hand."""
    parts = assemble(settings, "random", cast("Any", node), stop)

    def noting(part: Part, event: str) -> Part:
        async def noted() -> None:
            try:
                await part()
            finally:
                node.events.append(event)

        return noted

    router, http = noting(parts.router, "router ended"), noting(parts.http, "HTTP ended")
    return await run_parts(replace(parts, router=router, http=http), stop, StopTimes.of(settings))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(trio, "open_tcp_stream", network.open_tcp_stream)
    return network


@pytest.fixture
async def stage(settings: Settings, node: Node, network: Network, nursery: trio.Nursery) -> Stage:
    """A broker that routes."""
    stop = trio.Event()
    served: list[bool] = []

    async def run() -> None:
        served.append(await serve(settings, node, stop))

    nursery.start_soon(run)
    server = await network.serve_in(nursery)
    await server.register()
    stage = Stage(node, server, stop, served)
    await stage.update("alice")
    await wait_all_tasks_blocked()
    assert len(node.session.consuming) == 4
    nursery.start_soon(stage.listen)
    return stage


def assert_closed_in_order(events: list[str]) -> None:
    """The two connections are closed side by side, and what depends on them comes after."""
    assert {*events[-4:-2]} == {"WebSocket closed", "AMQP closed"}
    assert events[-2:] == ["router ended", "HTTP ended"]


@autojump
async def test_the_stop_has_an_order(stage: Stage) -> None:
    for _ in range(40):  # more than the mailbox takes
        stage.node.session.deliver("broker_input_queue")
    stage.stop.set()
    await trio.sleep(1)
    events = stage.node.events
    assert stage.served == [True]
    assert stage.node.session.unsettled == 0
    assert events.count("settled") == 40
    assert sum(event.endswith("not consumed any more") for event in events) == 4
    assert_closed_in_order(events)
    stopped = events.index("broker_input_queue not consumed any more")
    assert "WebSocket closed" not in events[:stopped]


@autojump
async def test_an_idle_broker_stops_at_once(stage: Stage) -> None:
    stage.stop.set()
    await wait_all_tasks_blocked()
    assert stage.served == [True]
    assert_closed_in_order(stage.node.events)


@autojump
async def test_what_is_not_settled_in_time_shows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Router, "_publish", lambda *_: None)
    stage.node.session.deliver("broker_input_queue")
    await wait_all_tasks_blocked()
    stage.stop.set()
    await trio.sleep(GRACE)
    assert stage.served == [False]
    assert_closed_in_order(stage.node.events)


@autojump
async def test_status_requests_and_advertisements_reach_the_link(
    stage: Stage, lines: list[EventDict]
) -> None:
    await trio.sleep(10)
    assert stage.heard == []
    stage.deliver_chat("zoe")
    stage.node.session.deliver("server_advertisement_queue", b'{"message_type":"SERVER_AVAILABLE"}')
    await wait_all_tasks_blocked()
    assert stage.heard == ["REQUEST_AGENT_STATUS"]
    assert "server_advertised" in [line["event"] for line in lines]


@autojump
@pytest.mark.parametrize("answers", [True, False])
async def test_a_sender_that_the_server_does_not_list_is_asked_about_ever_more_rarely(
    *, answers: bool, stage: Stage
) -> None:
    for _ in range(600):
        asked = len(stage.heard)
        stage.deliver_chat("stranger")
        await wait_all_tasks_blocked()
        if answers and len(stage.heard) > asked:
            await stage.update("alice")
        await trio.sleep(1)
    assert set(stage.heard) == {"REQUEST_AGENT_STATUS"}
    assert 2 <= len(stage.heard) <= 8


@autojump
@pytest.mark.parametrize("is_full", [True, False])
async def test_what_a_status_update_just_told_is_not_asked(is_full: bool, stage: Stage) -> None:
    await trio.sleep(1)
    await stage.update("zoe", is_full=False)
    await trio.sleep(5)
    stage.deliver_chat("stranger")
    await wait_all_tasks_blocked()
    assert stage.heard == ["REQUEST_AGENT_STATUS"]
    await trio.sleep(1)
    stage.deliver_chat("another")
    await trio.sleep(1)
    await stage.update("zoe", offline=["stranger", "another"], is_full=is_full)
    await trio.sleep(60)
    assert stage.heard == ["REQUEST_AGENT_STATUS"]


@autojump
async def test_the_broker_starts_without_anybody(
    settings: Settings, node: Node, network: Network, nursery: trio.Nursery, lines: list[EventDict]
) -> None:
    node.refuses = True
    network.failure = OSError("nobody")
    stop = trio.Event()

    async def stop_later() -> None:
        await trio.sleep(60)
        stop.set()

    nursery.start_soon(stop_later)
    assert await serve(settings, node, stop)
    assert set(node.opened) == {"one", "two"}
    events = [line["event"] for line in lines]
    assert events[0] == "broker_starting"
    assert {"amqp_unavailable", "server_unavailable"} <= set(events)


@autojump
@pytest.mark.parametrize(("grace", "drain"), [(25, 21), (6, 3)])
async def test_settling_may_take_the_time_that_closing_leaves(
    *, grace: float, drain: float, node: Node, network: Network, settings: Settings
) -> None:
    network.failure = OSError("nobody")
    stop = trio.Event()
    changed = replace(settings, broker_shutdown_timeout=grace, broker_output_queue=("out", "2nd"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, changed, node, stop)
        await wait_all_tasks_blocked()
        stop.set()
    [parameters, *_] = node.parameters
    assert parameters.drain_timeout == drain
    others = {"agent_metadata_queue", "server_advertisement_queue", "broker_dead_letter_queue"}
    assert set(parameters.queues) == {"broker_input_queue", "out", "2nd", *others}
    assert parameters.name.startswith("Test broker_")


# The nurseries, with parts that do as they are told


async def returns() -> None:
    await trio.lowlevel.checkpoint()


async def fails() -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("odd")


async def drains() -> bool:
    await trio.lowlevel.checkpoint()
    return True


IDLE = Parts(
    http=trio.sleep_forever,
    report_ready=returns,
    router=trio.sleep_forever,
    central=trio.sleep_forever,
    amqp=trio.sleep_forever,
    drain=drains,
    export_traces=returns,
)
TIMES = StopTimes(settle_within=20, close_within=24)


def with_parts(**parts: Any) -> Parts:
    return replace(IDLE, **parts)


@pytest.mark.parametrize("name", ["http", "router", "central", "amqp"])
@pytest.mark.parametrize(
    ("part", "error"), [(returns, RuntimeError("ended though nobody")), (fails, ValueError("odd"))]
)
async def test_a_part_that_ends_ends_the_service(name: str, part: Part, error: Exception) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await run_parts(with_parts(**{name: part}), trio.Event(), TIMES)
    first = first_error(caught.value)
    assert type(first) is type(error)
    assert str(error) in str(first)


@pytest.fixture
def stop() -> trio.Event:
    stop = trio.Event()
    stop.set()
    return stop


@autojump
async def test_traces_are_exported_whether_all_was_settled_or_not(stop: trio.Event) -> None:
    for drain in (drains, trio.sleep_forever):
        exported = False

        async def export() -> None:
            nonlocal exported
            with trio.move_on_after(2, shield=True):
                await trio.sleep(1)
                exported = True

        await run_parts(with_parts(export_traces=export, drain=drain), stop, TIMES)
        assert exported


@autojump
async def test_settling_has_a_deadline(stop: trio.Event) -> None:
    async def never() -> bool:
        await trio.sleep(60)
        return True

    began = trio.current_time()
    assert not await run_parts(with_parts(drain=never), stop, TIMES)
    assert trio.current_time() - began == pytest.approx(20)


@autojump
@pytest.mark.parametrize("name", ["http", "router", "central", "amqp"])
async def test_a_part_that_is_stopped_cleans_up_first(name: str, stop: trio.Event) -> None:
    cleaned_up = False

    async def cleans_up() -> None:
        nonlocal cleaned_up
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(2, shield=True):
                await trio.sleep(1)
            cleaned_up = True

    assert await run_parts(with_parts(**{name: cleans_up}), stop, TIMES)
    assert cleaned_up


# The whole process, but for its parts


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The logging of this process stays as it is."""
    monkeypatch.setattr(service, "configure_logging", lambda *_: None)
    return monkeypatch


@pytest.mark.parametrize(("settled", "code"), [(True, EXIT_STOPPED), (False, EXIT_FAILED)])
def test_a_stop(
    *,
    settled: bool,
    code: int,
    process: pytest.MonkeyPatch,
    settings: Settings,
    watchdog: list[str],
    lines: list[EventDict],
) -> None:
    async def serve(_: Settings, stop: trio.Event, __: str | Policy | None) -> bool:
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        return settled

    process.setattr(service, "serve", serve)
    assert service.run(settings) == code
    assert watchdog == ["armed for 7 s", "disarmed"]
    assert lines[-1] == {"event": "broker_stopped", "log_level": "info", "graceful": settled}


def test_a_failure_ends_the_process(
    process: pytest.MonkeyPatch, settings: Settings, watchdog: list[str], lines: list[EventDict]
) -> None:
    async def serve(_: Settings, __: trio.Event, ___: str | Policy | None) -> bool:
        await trio.lowlevel.checkpoint()
        raise ValueError("odd")

    process.setattr(service, "serve", serve)
    assert service.run(settings) == EXIT_FAILED
    [critical] = [line for line in lines if line["log_level"] == "critical"]
    assert critical["event"] == "broker_failed"
    assert critical["exc_info"]
    assert watchdog == ["disarmed"]
    assert "broker_stopped" not in [line["event"] for line in lines]
