"""Starting, supervising and stopping; RabbitMQ and the central server are played by hand."""

import faulthandler
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from structlog.typing import EventDict
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from broker import service
from broker.amqp import SessionParameters
from broker.amqp.link import AmqpSupervisor
from broker.central import CentralLink
from broker.router.task import Router
from broker.service import EXIT_FAILED, EXIT_STOPPED, Supervised, request_stop, serve
from broker.settings import Settings, load_settings
from tests.central.peers import Network, Server
from tests.lab.autojump import autojump
from tests.lab.fake_amqp import DRAIN_TIMEOUT, Node

GRACE = 7.0


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


class Watchdog:
    """Stands in for that of faulthandler, and notes what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self._arm)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", self._disarm)

    def _arm(self, timeout: float, *, exit: bool, **_: object) -> None:  # noqa: A002 - its name
        assert exit
        self.events.append(f"armed for {timeout:g} s")

    def _disarm(self) -> None:
        self.events.append("disarmed")


@pytest.fixture
def watchdog(monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    return Watchdog(monkeypatch)


def test_the_first_signal_requests_the_stop(watchdog: Watchdog, lines: list[EventDict]) -> None:
    stop_requested = trio.Event()
    request_stop(stop_requested, GRACE, signal.SIGTERM)
    assert stop_requested.is_set()
    assert watchdog.events == ["armed for 7 s"]
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


# Supervised tasks


@autojump
async def test_a_supervised_task_that_is_stopped_cleans_up_first(nursery: trio.Nursery) -> None:
    cleaned_up = False

    async def work() -> None:
        nonlocal cleaned_up
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            cleaned_up = True

    task = Supervised("work", work)
    nursery.start_soon(task.run)
    await wait_all_tasks_blocked()
    await task.stop()
    assert cleaned_up


async def test_a_supervised_task_must_not_return() -> None:
    task = Supervised("the work", trio.lowlevel.checkpoint)
    with pytest.raises(RuntimeError, match="the work ended though nobody asked it to"):
        await task.run()


async def test_an_error_of_a_supervised_task_passes() -> None:
    async def fail() -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        await Supervised("work", fail).run()


async def test_a_supervised_task_cancelled_from_outside_did_not_return() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await Supervised("work", trio.sleep_forever).run()
    assert scope.cancelled_caught


# The order of the stop


class Stage:
    """A broker that serves, a server that has accepted it, and what happens, in order."""

    def __init__(self, node: Node, server: Server, stop: trio.Event, served: list[bool]) -> None:
        self.node = node
        self.server = server
        self.stop = stop
        self.served = served
        self.heard: list[str] = []

    async def listen(self) -> None:
        try:
            while True:
                self.heard.append(
                    json.loads(await self.server.websocket.get_message())["message_type"]
                )
        except ConnectionClosed:
            self.node.events.append("WebSocket closed")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()
    run = Router.run

    async def noted(*arguments: Any) -> None:
        try:
            await run(*arguments)
        finally:
            node.events.append("router ended")

    monkeypatch.setattr(Router, "run", noted)
    return node


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(trio, "open_tcp_stream", network.open_tcp_stream)
    return network


@pytest.fixture
async def stage(settings: Settings, node: Node, network: Network, nursery: trio.Nursery) -> Stage:
    """A broker that routes."""
    stop = trio.Event()
    served: list[bool] = []

    async def run() -> None:
        served.append(await serve(settings, stop, open_rabbit=node.open_rabbit))

    nursery.start_soon(run)
    server = await network.serve(nursery)
    await server.register()
    alice = {"agent_id": "alice", "is_online": True}
    await server.send("AGENT_STATUS_UPDATE", agents=[alice], is_full_update=True)
    await wait_all_tasks_blocked()
    assert len(node.session.consuming) == 4
    stage = Stage(node, server, stop, served)
    nursery.start_soon(stage.listen)
    return stage


CLOSING = ["WebSocket closed", "AMQP closed", "router ended"]


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
    assert events[-3:] == CLOSING
    stopped = events.index("broker_input_queue not consumed any more")
    assert "WebSocket closed" not in events[:stopped]


@autojump
async def test_an_idle_broker_stops_at_once(stage: Stage) -> None:
    stage.stop.set()
    await wait_all_tasks_blocked()
    assert stage.served == [True]
    assert stage.node.events[-3:] == CLOSING


@autojump
async def test_what_is_not_settled_in_time_shows(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Router, "_publish", lambda *_: None)
    stage.node.session.deliver("broker_input_queue")
    await wait_all_tasks_blocked()
    stage.stop.set()
    await trio.sleep(DRAIN_TIMEOUT + 3)
    assert stage.served == [False]
    assert [event for event in stage.node.events if event in CLOSING] == [
        "AMQP closed",  # the session ends when the time is up
        "WebSocket closed",
        "router ended",
    ]


@autojump
async def test_status_requests_and_advertisements_reach_the_link(
    stage: Stage, lines: list[EventDict]
) -> None:
    await trio.sleep(10)
    assert stage.heard == []
    stage.node.session.deliver("broker_input_queue", b'{"message_type":"TEXT","sender_id":"zoe"}')
    stage.node.session.deliver("server_advertisement_queue", b'{"message_type":"SERVER_AVAILABLE"}')
    await wait_all_tasks_blocked()
    assert stage.heard == ["REQUEST_AGENT_STATUS"]
    assert "server_available" in [line["event"] for line in lines]


def chat_of(stage: Stage, sender_id: str) -> None:
    body = json.dumps({"message_type": "TEXT", "sender_id": sender_id}).encode()
    stage.node.session.deliver("broker_input_queue", body)


@autojump
@pytest.mark.parametrize("answers", [True, False])
async def test_a_sender_that_the_server_does_not_list_is_asked_about_ever_more_rarely(
    *, answers: bool, stage: Stage
) -> None:
    for _ in range(600):
        asked = len(stage.heard)
        chat_of(stage, "stranger")
        await wait_all_tasks_blocked()
        if answers and len(stage.heard) > asked:
            alice = {"agent_id": "alice", "is_online": True}
            await stage.server.send("AGENT_STATUS_UPDATE", agents=[alice], is_full_update=True)
        await trio.sleep(1)
    assert set(stage.heard) == {"REQUEST_AGENT_STATUS"}
    assert 2 <= len(stage.heard) <= 8


@autojump
@pytest.mark.parametrize("is_full", [True, False])
async def test_what_a_status_update_just_told_is_not_asked(is_full: bool, stage: Stage) -> None:
    await trio.sleep(1)
    zoe = {"agent_id": "zoe", "is_online": True}
    await stage.server.send("AGENT_STATUS_UPDATE", agents=[zoe], is_full_update=False)
    await trio.sleep(5)
    chat_of(stage, "stranger")
    await wait_all_tasks_blocked()
    assert stage.heard == ["REQUEST_AGENT_STATUS"]
    await trio.sleep(1)
    chat_of(stage, "another")
    await trio.sleep(1)
    agents = [zoe, *({"agent_id": name} for name in ("stranger", "another"))]
    await stage.server.send("AGENT_STATUS_UPDATE", agents=agents, is_full_update=is_full)
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
        await trio.sleep(3600)
        stop.set()

    nursery.start_soon(stop_later)
    assert await serve(settings, stop, open_rabbit=node.open_rabbit)
    assert set(node.opened) == {"one", "two"}
    events = [line["event"] for line in lines]
    assert events[0] == "broker_starting"
    assert {"amqp_lost", "server_lost"} <= set(events)


@autojump
@pytest.mark.parametrize(("grace", "drain"), [(25, 21), (6, 3)])
async def test_settling_may_take_the_time_that_closing_leaves(
    *,
    grace: float,
    drain: float,
    node: Node,
    network: Network,
    settings: Settings,
) -> None:
    network.failure = OSError("nobody")
    parameters: list[SessionParameters] = []
    stop = trio.Event()

    def note(given: SessionParameters) -> None:
        parameters.append(given)
        stop.set()

    node.opening_session = note
    changed = replace(settings, broker_shutdown_timeout=grace, broker_output_queue=("out", "2nd"))
    await serve(changed, stop, open_rabbit=node.open_rabbit)
    assert parameters[0].drain_timeout == drain
    assert set(parameters[0].queues) == {
        "broker_input_queue",
        "out",
        "2nd",
        "agent_metadata_queue",
        "server_advertisement_queue",
        "broker_dead_letter_queue",
    }
    assert parameters[0].name.startswith("Test broker_")


# The whole process, but for its peers


async def forever(*_: object) -> None:
    await trio.sleep_forever()


async def returns(*_: object) -> None:
    await trio.lowlevel.checkpoint()


async def fails(*_: object) -> None:
    await trio.lowlevel.checkpoint()
    raise ValueError("odd")


async def terminates(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)
    await trio.sleep_forever()


async def unsettled(*_: object) -> bool:
    await trio.lowlevel.checkpoint()
    return False


TASKS = [Router, CentralLink, AmqpSupervisor]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, watchdog: Watchdog) -> pytest.MonkeyPatch:
    """All tasks do nothing, and the logging of this process stays as it is."""
    del watchdog
    monkeypatch.setattr(service, "configure_logging", lambda *_: None)
    for task in TASKS:
        monkeypatch.setattr(task, "run", forever)
    return monkeypatch


def test_a_graceful_stop(
    process: pytest.MonkeyPatch, settings: Settings, watchdog: Watchdog, lines: list[EventDict]
) -> None:
    process.setattr(Router, "run", terminates)
    assert service.run(settings) == EXIT_STOPPED
    assert watchdog.events == ["armed for 7 s", "disarmed"]
    assert lines[-1] == {"event": "broker_stopped", "log_level": "info", "graceful": True}


def test_a_stop_that_left_something_unsettled(
    process: pytest.MonkeyPatch, settings: Settings, lines: list[EventDict]
) -> None:
    process.setattr(Router, "run", terminates)
    process.setattr(AmqpSupervisor, "drain", unsettled)
    assert service.run(settings) == EXIT_FAILED
    assert lines[-1]["event"] == "broker_stopped"
    assert lines[-1]["graceful"] is False


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("way", [returns, fails])
def test_a_task_that_ends_ends_the_process_with_a_failure(
    *,
    task: type,
    way: Callable[..., Awaitable[None]],
    process: pytest.MonkeyPatch,
    settings: Settings,
    watchdog: Watchdog,
    lines: list[EventDict],
) -> None:
    process.setattr(task, "run", way)
    assert service.run(settings) == EXIT_FAILED
    [critical] = [line for line in lines if line["log_level"] == "critical"]
    assert critical["event"] == "broker_failed"
    assert critical["exc_info"]
    assert watchdog.events == ["disarmed"]
    assert "broker_stopped" not in [line["event"] for line in lines]
