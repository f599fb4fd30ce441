"""No secret and no payload is in what the real process writes, whatever happens to it.

All that must not be seen holds the same word, which is looked for in everything written.
"""

import json
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from anyio.from_thread import start_blocking_portal

from broker.sandbox import central_server
from broker.sandbox.broker_process import COMMAND
from broker.settings.options import options
from tests.cli.commands import Ran, run_command
from tests.integration.rig import Rig, bring_online, terminate, text
from tests.lab import raw_content
from tests.lab.central_server import open_central_server
from tests.lab.eventually import PATIENCE, eventually
from tests.lab.proxy import Proxy, Toward, open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode

CANARY = "c4nary"
USER = "courier"
PASSWORD = f"{CANARY}-password"
TOKEN = f"{CANARY}-token"

_CANARIES = re.compile(rf".{{0,60}}{CANARY}[\w-]*")


def canaries(written: str) -> list[str]:
    return _CANARIES.findall(written)


def log_of(rig: Rig) -> str:
    return (rig.directory / "broker.log").read_text()


async def declare_queues(rig: Rig) -> None:
    """Make what is published before the broker is there wait for it."""
    await rig.declare(rig.input, rig.output, rig.metadata, rig.advertisement, rig.dead_letter)


@pytest.fixture(scope="module")
def login(rabbitmq: RabbitmqNode) -> Iterator[str]:
    """User and password for the node, as they stand in a URL."""
    with start_blocking_portal("trio") as portal:
        portal.call(rabbitmq.ctl, "add_user", USER, PASSWORD)
        portal.call(rabbitmq.ctl, "set_permissions", USER, ".*", ".*", ".*")
        yield f"{USER}:{PASSWORD}"
        portal.call(rabbitmq.ctl, "delete_user", USER)


def amqp_urls(rig: Rig, login: str, way_in: Proxy) -> str:
    """Nobody there, no TLS there, a wrong password, and the right one."""
    here = f"127.0.0.1:{rig.node.port}"
    return ",".join(
        (
            f"amqp://{login}@127.0.0.1:9/",
            f"amqps://{login}@{here}/",
            f"amqp://guest:{CANARY}-wrong-password@{here}/",
            f"amqp://{login}@127.0.0.1:{way_in.port}/",
        )
    )


async def every_node_was_tried(way_in: Proxy) -> None:
    """Wait until the only good node, which must refuse, has been tried twice: so all were."""
    await eventually(lambda: way_in.connections >= 2)


POISON = [
    f"{CANARY} is no JSON".encode(),
    f'{{"message_type": "TEXT", "{CANARY}"'.encode(),
    f'["{CANARY}"]'.encode(),
    f'{{"x": "{CANARY}"}}'.encode(),
    f'{{"message_type": "{CANARY}"}}'.encode(),
    f'{{"message_type": ["{CANARY}"]}}'.encode(),
    text(1, "agent_0", text_payload=[CANARY]),
    text(2, "agent_0", message_id={CANARY: CANARY}),
    text(3, "agent_0", x=f"{CANARY}" * 200_000),
    b'{"message_type": "TEXT", "x": "' + CANARY.encode() + b'\xff"}',
    b'{"message_type": "TEXT", "x": ' + b'["' * 5 + CANARY.encode() + b"\0",
]
METADATA_POISON = [
    f'{{"message_type": "REGISTER_AGENT", "agent_id": ["{CANARY}"]}}'.encode(),
    f'{{"message_type": "REGISTER_AGENT", "agent_id": "{CANARY}\\n"}}'.encode(),
    f'{{"message_type": "CLIENT_DISCONNECTED", "x": "{CANARY}"}}'.encode(),
    f'{{"message_type": "REGISTER_AGENT", "agent_id": "a", "capabilities": "{CANARY}"}}'.encode(),
]
ODD_MESSAGE = raw_content.Content(
    text(4, "agent_0", text_payload=CANARY),
    struct.pack(">H", raw_content.FLAG_CONTENT_TYPE) + b"\x08\xff\xfe" + CANARY.encode(),
)
WHOLESOME = [
    text(5, "agent_0", text_payload=CANARY, _client_id=f"{CANARY}-client"),
    text(6, f"{CANARY}-stranger", text_payload=CANARY),
    json.dumps({"message_type": "ERROR", "text_payload": CANARY}).encode(),
]
REGISTRATION = {
    "message_type": "REGISTER_AGENT",
    "agent_id": "registered",
    "agent_name": "R",
    "capabilities": [f"{CANARY}-capability"],
    "_client_id": f"{CANARY}-client",
}
FRAMES = [
    f"{CANARY} is no JSON",
    f'{{"x": "{CANARY}"}}',
    f'{{"message_type": "AGENT_STATUS_UPDATE", "agents": "{CANARY}"}}',
    f'{{"message_type": "AGENT_STATUS_UPDATE", "agents": ["{CANARY}", {{"x": "{CANARY}"}}]}}',
    f'{{"message_type": "SOMETHING_NEW", "text": "{CANARY}"}}',
]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("level", "style"),
    [
        ("debug", "json"),
        ("debug", "console"),
        ("info", "json"),
        ("warning", "console"),
        ("error", "json"),
        ("critical", "json"),
    ],
)
async def test_a_life_full_of_trouble(
    rig: Rig, login: str, level: str, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = f"ticket={CANARY}-ticket"
    monkeypatch.setattr(central_server, "PATH", f"/ws?{ticket}")
    token_file = rig.directory / "token"
    token_file.write_text(TOKEN)
    await declare_queues(rig)
    await rig.publish(rig.input, *POISON, *WHOLESOME)
    await rig.publish_content(rig.input, ODD_MESSAGE)
    await rig.publish(rig.metadata, *METADATA_POISON)

    async with (
        open_central_server(token=TOKEN) as server,
        open_proxy(rig.node.port, random=Random(1)) as way_in,
    ):
        bring_online(server)
        server.accepting = False
        way_in.reset_after(8, toward=Toward.SERVER)
        async with rig.broker(
            server.url,
            command=COMMAND,
            AMQP_URL=amqp_urls(rig, login, way_in),
            BROKER_WEBSOCKET_TOKEN_FILE=str(token_file),
            BROKER_LOG_LEVEL=level,
            BROKER_LOG_FORMAT=style,
            BROKER_MAX_MESSAGE_BYTES="1000000",
            PYTHONASYNCIODEBUG="1",
        ) as broker:
            await every_node_was_tried(way_in)
            way_in.heal()
            # What is refused on the metadata queue shows that RabbitMQ has been reached.
            await rig.take(rig.dead_letter, len(METADATA_POISON))
            server.accepting = True
            await rig.publish(rig.advertisement, advertisement(server.url), advertisement(None))
            await rig.take(rig.dead_letter, len(POISON))
            await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
            # With the one that has odd properties, and the answer to the registration.
            await rig.take(rig.output, len(WHOLESOME) + 2)
            for frame in FRAMES:
                server.send(frame)
            server.send({"message_type": "PING"})
            with trio.fail_after(PATIENCE):
                await server.heard("PONG")
            server.drop_sessions(1011)
            assert await terminate(broker, within=12) == 0

    written = log_of(rig)
    assert canaries(written) == []
    if (level, style) == ("debug", "json"):
        assert_all_of_it_was_logged(list(rig.log()))


def advertisement(url: str | None) -> bytes:
    url = f"ws://me:{CANARY}@127.0.0.1:9/ws?ticket={CANARY}" if url is None else url
    return json.dumps({"message_type": "SERVER_AVAILABLE", "websocket_url": url}).encode()


def assert_all_of_it_was_logged(lines: list[dict[str, Any]]) -> None:
    """Assert that the silence about secrets is not the silence about everything."""
    events = {line["event"] for line in lines}
    assert events >= {
        "amqp_connecting",
        "amqp_unavailable",
        "amqp_connected",
        "server_connecting",
        "server_unavailable",
        "server_advertised",
        "registered",
        "dead_lettered",
        "frame_ignored",
        "status_update_ignored",
        "agent_status_skipped",
        "frame_type_unknown",
        "agent_registered",
    }
    errors = " ".join(line["error"] for line in lines if line["event"] == "amqp_unavailable")
    assert "127.0.0.1:9" in errors
    assert "TLS" in errors
    assert "refused the login" in errors
    # These libraries log bodies and query strings.
    chatty = [line for line in lines if line["level"] in {"debug", "info"} and "logger" in line]
    assert [line["logger"] for line in chatty if line["logger"].startswith(LIBRARIES)] == []


LIBRARIES = ("aiormq", "asyncio", "pamqp", "trio-websocket")

FAILING = """
import os

from broker.core.freshness import RegistryFreshness
from broker.core.registry import AgentRegistry


def anybody_but(self, sender_id, random):
    secret = os.environ["AMQP_URL"]
    raise RuntimeError("the registry fails")


def status_updated(self):
    secret = os.environ["AMQP_URL"]
    raise RuntimeError("the router fails")


AgentRegistry.anybody_but = anybody_but
RegistryFreshness.status_updated = status_updated
"""
"""Broken parts; the interpreter imports a module of this name at its start."""


@pytest.mark.parametrize("style", ["json", pytest.param("console", marks=pytest.mark.exhaustive)])
async def test_tracebacks(rig: Rig, login: str, style: str) -> None:
    broken = rig.directory / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(FAILING)
    await declare_queues(rig)
    async with open_central_server() as server:
        server.accepting = False
        async with rig.broker(
            server.url,
            command=COMMAND,
            AMQP_URL=f"amqp://{login}@127.0.0.1:{rig.node.port}/",
            BROKER_WEBSOCKET_TOKEN=TOKEN,
            BROKER_LOG_LEVEL="debug",
            BROKER_LOG_FORMAT=style,
            PYTHONPATH=str(broken),
        ) as broker:
            await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
            await rig.take(rig.output, 1)
            await rig.publish(rig.input, text(1, "agent_0", text_payload=CANARY))
            [parked] = await rig.take(rig.dead_letter, 1)
            assert (parked.header.properties.headers or {})["x-broker-reason"] == "internal_error"
            server.accepting = True
            await rig.publish(rig.advertisement, advertisement(server.url))
            with trio.fail_after(PATIENCE):
                assert await broker.wait() == 1

    written = log_of(rig)
    assert "the registry fails" in written
    assert "the router fails" in written
    assert "sitecustomize.py" in written, "no traceback was written"
    assert canaries(written) == []


async def run_to_end(directory: Path, *arguments: str, **settings: str) -> Ran:
    known = {option.variable for option in options()}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in known}
    return await run_command(*arguments, environment={**inherited, **settings}, directory=directory)


async def test_help_and_version_with_secrets_around(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"RABBITMQ_PASSWORD={PASSWORD}\n")
    secrets = {"AMQP_URL": f"amqp://me:{PASSWORD}@h/", "BROKER_WEBSOCKET_TOKEN": TOKEN}
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        ran = await run_to_end(tmp_path, *arguments, **secrets)
        assert ran.code == 0
        assert ran.out
        assert canaries(ran.out + ran.err) == []


async def test_everything_configured_wrongly(tmp_path: Path) -> None:
    broken_file = tmp_path / "broken"
    broken_file.write_bytes(CANARY.encode() + b"\xff")
    no_pem = tmp_path / "no.pem"
    no_pem.write_text(f"-----BEGIN CERTIFICATE-----\n{CANARY}\n-----END CERTIFICATE-----\n")
    (tmp_path / ".env").write_text(f"RABBITMQ_HOST=amqp://me:{PASSWORD}@rabbit\n")
    wrong = {
        "AMQP_URL": f"amqp://me:{PASSWORD}@rabbit:{CANARY}/",
        "RABBITMQ_PASSWORD_FILE": str(broken_file),
        "WEBSOCKET_URL": f"ws://me:{PASSWORD}@server/ws?ticket={CANARY}",
        "BROKER_WEBSOCKET_TOKEN": f"{CANARY} {CANARY}",
        "AMQP_CA_FILE": str(no_pem),
        "BROKER_LOG_LEVEL": "debug",
        "RABBITMQ_PORT": f"tcp://me:{PASSWORD}@10.0.0.1:5672",
    }
    ran = await run_to_end(tmp_path, **wrong)
    assert ran.code == 2
    assert canaries(ran.out + ran.err) == []
    for variable in {*wrong, "RABBITMQ_HOST"} - {"BROKER_LOG_LEVEL"}:
        assert f"broker: {variable} must" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--amqp-url=http://me:{PASSWORD}@h/"],
        ["--websocket-url", f"http://server/ws?ticket={CANARY}"],
        ["--rabbitmq-password", "a", f"{CANARY}"],
        [f"--broker-websocket-token={CANARY}\n"],
        ["--rabbitmq-password", f"{CANARY}", "--rabbitmq-password-file", "f"],
        [f"-p{CANARY}"],
    ],
)
async def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    ran = await run_to_end(tmp_path, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("broker: ")
    assert canaries(ran.err) == []
