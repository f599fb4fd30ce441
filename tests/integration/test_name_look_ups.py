"""A stop while a name service does not answer: nothing is held, and so it ends at once."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from broker.sandbox.broker_process import COMMAND
from broker.settings.options import options
from tests.integration.rig import Rig
from tests.lab.central_server import CentralServer
from tests.lab.silent_resolver import SilentResolver, open_silent_resolver

DEADLINE = 8
"""Seconds; the look-up, and the end by force, take longer."""
SETTINGS = {"BROKER_SHUTDOWN_TIMEOUT": "30"}
RABBITMQ, SERVER, PAGE = "rabbitmq.example", "server.example", "page.example"
INTERRUPTED = 130


also = partial(pytest.param, marks=pytest.mark.exhaustive)
"""The same path with another name: each takes seconds, as each is a process."""


@pytest.fixture
def resolver(tmp_path: Path) -> Iterator[SilentResolver]:
    with open_silent_resolver(tmp_path) as resolver:
        yield resolver


@pytest.mark.parametrize(
    ("host", "given"),
    [
        pytest.param(RABBITMQ, {"AMQP_URL": f"amqp://{RABBITMQ}"}, id="amqp"),
        also(RABBITMQ, {"AMQP_URL": f"amqps://{RABBITMQ},amqp://{RABBITMQ}"}, id="several"),
        pytest.param(SERVER, {"WEBSOCKET_URL": f"ws://{SERVER}/ws"}, id="ws"),
        also(SERVER, {"WEBSOCKET_URL": f"wss://{SERVER}/ws"}, id="wss"),
        also(PAGE, {"BROKER_HTTP_HOST": PAGE, "BROKER_HTTP_PORT": "0"}, id="http"),
    ],
)
async def test_the_broker_stops(
    host: str, given: dict[str, str], resolver: SilentResolver, rig: Rig, server: CentralServer
) -> None:
    settings = {**rig.settings(server.url), **SETTINGS, **given}
    url = settings.pop("WEBSOCKET_URL")
    async with rig.broker(url, command=resolver.command(COMMAND), **settings) as broker:
        await resolver.asked_for(host)
        os.kill(broker.pid, signal.SIGTERM)
        with trio.fail_after(DEADLINE):
            assert await broker.wait() == 0
    [stopped] = [line for line in rig.log() if line["event"] == "broker_stopped"]
    assert stopped["graceful"]


@pytest.mark.parametrize(
    ("arguments", "host"),
    [
        pytest.param(("check",), RABBITMQ, id="check, RabbitMQ"),
        also(("check",), SERVER, id="check, server"),
        also(("send", "hello"), RABBITMQ, id="send"),
        also(("dead-letters", "list"), RABBITMQ, id="dead-letters list"),
        also(("queues", "list"), RABBITMQ, id="queues list"),
        also(("status", f"--url=http://{PAGE}:1"), PAGE, id="status"),
    ],
)
async def test_a_command_ends(
    arguments: tuple[str, ...], host: str, resolver: SilentResolver, rig: Rig
) -> None:
    known = {option.variable for option in options()}
    inherited = {name: value for name, value in os.environ.items() if name not in known}
    url = f"amqp://{RABBITMQ}" if host == RABBITMQ else rig.node.url
    given = {"AMQP_URL": url, "WEBSOCKET_URL": f"ws://{SERVER}", "BROKER_HTTP_PORT": "off"}
    command = ("env", "--default-signal=INT", *COMMAND, *arguments)
    process = await trio.lowlevel.open_process(
        resolver.command(command), cwd=rig.directory, env={**inherited, **given}
    )
    try:
        await resolver.asked_for(host)
        process.send_signal(signal.SIGINT)
        with trio.fail_after(DEADLINE):
            assert await process.wait() == INTERRUPTED
    finally:
        process.kill()
        await process.wait()
