"""`broker status` against an endpoint that serves what a test wants, and against a real broker."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import msgspec
import pytest
import trio

from broker.cli import fetch as fetching
from broker.cli.application import execute
from broker.cli.status_endpoint import configured_url, given_url
from broker.sandbox.broker_process import COMMAND, open_broker
from broker.settings import load_settings
from broker.status.model import (
    Check,
    Connections,
    DeadLetters,
    QueueStatus,
    RegistryStatus,
    RoutingStatus,
    Status,
    Verdict,
)
from broker.telemetry.connectivity import ConnectionStatus
from tests.cli.commands import PATIENCE
from tests.cli.listener import HOST, http, open_listener
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.programs import free_port
from tests.status.page.statuses import NOW, WORKING

READY = msgspec.structs.replace(
    WORKING,
    queues=[
        QueueStatus("input", "broker_input_queue", 0, 2, -0.04, "ok"),
        QueueStatus("output", "out\x1b[2J", 20_164, 0, 12.345, "unread"),
        QueueStatus("dead_letter", "broker_dead_letter_queue"),
    ],
    connections=Connections(
        rabbitmq=ConnectionStatus(
            "connected", "amqp://me@one/", NOW, 9, "reset", NOW - timedelta(minutes=3), 2, 7
        ),
        server=WORKING.connections.server,
    ),
    verdict=Verdict("warn", "Routing, but nobody reads it", "Agents get nothing."),
    oldest_in_flight_seconds=61.0,
)
UNREADY = msgspec.structs.replace(
    READY,
    ready=False,
    state="paused",
    checks=[
        Check("rabbitmq"),
        Check("server", "refused:\n\x1b[2J no\u202e brokers"),
        Check("alarm", "not known", is_known=False),
    ],
    verdict=Verdict("bad", "Paused", "It waits."),
)


@asynccontextmanager
async def serving(*answers: bytes) -> AsyncIterator[str]:
    """Answer requests one after the other, the last answer being for all others; yields the URL."""
    following = chain(answers, repeat(answers[-1]))
    async with open_listener(lambda: next(following), hangs_up=True) as port:
        yield f"http://{HOST}:{port}"


async def run(*arguments: str) -> int:
    """Run the command in a thread, as it has a Trio of its own."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(execute, ["status", *arguments])


class TestText:
    async def test_all_figures(self, capsys: pytest.CaptureFixture[str]) -> None:
        async with serving(http(READY)) as url:
            assert await run("--url", url) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        lines = captured.out.splitlines()
        assert [line.strip() for line in lines[:3]] == [
            "Routing, but nobody reads it",
            "Agents get nothing.",
            "BrokerService (broker-7) 1.2.3, ready, routing, up for 1 d 2 h",
        ]
        for words in (
            ["input", "broker_input_queue", " 0 ", " 2 ", "+0.0/s"],
            ["output", r"out\x1b[2J", "20,164", " 0 ", "+12.3/s", "unread"],
            ["dead letter", "broker_dead_letter_queue", "not known"],
            ["RabbitMQ amqp://me@one/", "connected", " 2 ", " 7 ", "3 min ago: reset"],
            ["server wss://server.example/ws", "connected"],
            ["rabbitmq", "ok"],
            ["received per second", "412.5"],
            ["published per second", "411.9"],
            ["in flight", "17, the oldest for 1 min"],
            ["agents online", "38 of 52"],
            ["registry", "fresh, updated 3 s ago"],
            ["received", "1,284,112"],
            ["redelivered to the broker", "31"],
            ["answered: no agent online", "1,204"],
            ["dead-lettered", "45"],
            ["invalid json", "31"],
            ["invalid_json", "broker_input_queue", "2026-03-02T04:02:52Z"],
        ):
            assert any(all(word in line for word in words) for line in lines), words
        assert "too deep" not in captured.out  # as there were none

    async def test_not_ready(self, capsys: pytest.CaptureFixture[str]) -> None:
        async with serving(http(UNREADY)) as url:
            assert await run("--url", url) == 1
        text = capsys.readouterr().out
        assert "not ready, paused" in text
        # On one line, and nothing that a terminal would obey.
        assert r"refused:\n\x1b[2J no\u202e brokers" in text

    async def test_before_the_first_update(self, capsys: pytest.CaptureFixture[str]) -> None:
        registry = RegistryStatus(online=0, known=0, is_fresh=False)
        new = msgspec.structs.replace(
            READY, registry=registry, uptime_seconds=200_000.0, dead_letters=DeadLetters()
        )
        async with serving(http(new)) as url:
            assert await run("--url", url) == 0
        text = capsys.readouterr().out
        assert "not fresh, no update yet" in text
        assert "up for 2 d 8 h" in text
        assert "dead letters" not in text.lower()

    async def test_a_routing_that_is_not_the_default_is_named(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        routing = RoutingStatus("mine:\x1b[2JBest", "prefer")
        async with serving(
            http(READY), http(msgspec.structs.replace(READY, routing=routing))
        ) as url:
            assert await run("--url", url) == 0
            assert "routing policy" not in capsys.readouterr().out
            assert await run("--url", url) == 0
        assert r"mine:\x1b[2JBest, receiver_id: prefer" in capsys.readouterr().out


async def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(http(UNREADY)) as url:
        assert await run("--url", f"{url}/status", "--format", "json") == 1
    assert msgspec.json.decode(capsys.readouterr().out, type=Status) == UNREADY


async def test_fields_of_a_newer_broker_do_no_harm() -> None:
    document = msgspec.to_builtins(READY) | {"new": 1}
    async with serving(http(document)) as url:
        assert await run("--url", url) == 0


class TestWhere:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ("http://broker", "http://broker/status"),
            ("http://broker:9780/", "http://broker:9780/status"),
            ("https://proxy/broker/status", "https://proxy/broker/status"),
        ],
    )
    def test_given(self, given: str, expected: str) -> None:
        assert given_url(given, "/status") == expected

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("127.0.0.1", "http://127.0.0.1:9780/status"),
            ("0.0.0.0", "http://127.0.0.1:9780/status"),  # noqa: S104 - what people configure
            ("::", "http://127.0.0.1:9780/status"),
            ("::1", "http://[::1]:9780/status"),
            ("broker.example", "http://broker.example:9780/status"),
        ],
    )
    def test_configured(self, host: str, expected: str) -> None:
        assert configured_url(load_settings({"broker_http_host": host}), "/status") == expected

    async def test_other_settings_do_not_matter_with_a_url(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RABBITMQ_PORT", "0")
        async with serving(http(READY)) as url:
            assert await run("--url", url) == 0


class TestNoBroker:
    def test_nobody_listens(self, capsys: pytest.CaptureFixture[str]) -> None:
        port = str(free_port())
        assert execute(["status", "--broker-http-port", port]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err == (
            f"broker: no broker answers at http://{HOST}:{port}/status (connection refused): is it "
            "running, and is BROKER_HTTP_PORT the same for both, or --url right?\n"
        )

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (http({"a": 1}), "is not a broker (HTTP status 200)"),
            (http(READY, "404 Not Found"), "is not a broker (HTTP status 404)"),
            (b"SSH-2.0-OpenSSH\r\n", "the answer is not HTTP (BadStatusLine)"),
            (b"", "(remote end closed connection without response)"),
        ],
    )
    async def test_something_else(
        self, answer: bytes, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        async with serving(answer) as url:
            assert await run("--url", url) == 1
        [line] = capsys.readouterr().err.splitlines()
        assert said in line
        assert "--url" in line

    async def test_no_answer(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "FETCH_TIMEOUT", 0.2)
        with socket.create_server((HOST, 0)) as listener:
            assert await run("--url", f"http://{HOST}:{listener.getsockname()[1]}") == 1
        assert "(no answer within 0.2 s)" in capsys.readouterr().err

    async def test_no_proxy_of_the_environment_is_asked(self) -> None:
        async with serving(http(READY)) as url:
            with trio.fail_after(PATIENCE):
                # In a process, as the environment is read when it starts.
                process = await trio.run_process(
                    [*COMMAND, "status", "--url", url],
                    env=os.environ | {"http_proxy": f"http://{HOST}:1", "no_proxy": ""},
                    capture_stdout=True,
                )
        assert b"ready, routing" in process.stdout


def start(url: str, *arguments: str, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "status", "--watch", "--url", url, *arguments],
        stdin=subprocess.DEVNULL,  # a terminal there would give its size
        stdout=output,
        stderr=subprocess.PIPE,
        env={"TERM": "xterm", **os.environ},
    )


async def watch(
    url: str, *arguments: str, until: bytes, pipe: tuple[int, int] | None = None
) -> tuple[int, bytes, bytes]:
    """Watch in a process until it has shown something, then press Ctrl-C."""
    reader, writer = pipe or os.pipe()
    process = start(url, *arguments, output=writer)
    os.close(writer)
    shown = b""
    in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
    try:
        with trio.fail_after(PATIENCE):
            while until not in shown:
                shown += await in_thread(os.read, reader, 65_536)
                assert process.poll() is None, shown
            process.send_signal(signal.SIGINT)
            _, errors = await in_thread(process.communicate)
    finally:
        process.kill()
        os.close(reader)
    return process.returncode, shown, errors


class TestWatch:
    async def test_lines_until_interrupted(self) -> None:
        """Also while there is no broker; the exit code is that of the last line."""
        answers = (b"", http(READY), http(UNREADY))
        async with serving(*answers) as url:
            code, shown, errors = await watch(url, until=b"not ready")
        assert (code, errors) == (1, b"")
        first, second, third, *_ = shown.decode().splitlines()
        assert "no broker answers at" in first
        figures = "412.5 received/s, 411.9 published/s, 17 in flight, 38 of 52 agents online"
        assert second == f"Routing, but nobody reads it \N{EN DASH} ready: {figures}"
        problem = r"server: refused:\n\x1b[2J no\u202e brokers"
        assert third == f"Paused \N{EN DASH} not ready ({problem}): {figures}"

    async def test_json_lines(self) -> None:
        async with serving(http(READY)) as url:
            code, shown, errors = await watch(url, "--format", "json", until=b"\n")
        assert (code, errors) == (0, b"")
        assert json.loads(shown.splitlines()[0])["broker_id"] == "broker-7"

    @pytest.mark.parametrize(("rows", "columns"), [(24, 80), (40, 120)])
    async def test_on_a_terminal(
        self, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("COLUMNS")
        monkeypatch.setenv("TERM", "xterm")
        terminal = pty.openpty()
        fcntl.ioctl(terminal[1], termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        async with serving(http(READY), http(UNREADY)) as url:
            code, shown, errors = await watch(url, until=b"not ready", pipe=terminal)
        assert (code, errors) == (1, b"")
        assert b"\x1b[2J no" not in shown
        # Before it is renewed, the cursor goes up to its first line.
        height = shown.count(b"\x1b[1A") + 1
        assert 1 < height <= rows
        lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode()).splitlines()
        assert max(map(len, lines)) <= columns
        last = lines[height - 1]
        assert last.endswith("Press Ctrl-C to stop.")
        assert height < rows or re.match(r"\d+ more lines in a larger terminal\. ", last)

    async def test_on_a_terminal_without_cursor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "dumb")
        async with serving(http(READY), http(UNREADY)) as url:
            code, shown, _ = await watch(url, until=b"not ready", pipe=pty.openpty())
        assert code == 1
        assert b"ready: 412.5 received/s" in shown.splitlines()[0]


async def test_a_real_broker(
    rabbitmq: RabbitmqNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(free_port())
    async with open_central_server() as server:
        variables = {
            "AMQP_URL": rabbitmq.url,
            "WEBSOCKET_URL": server.url,
            "BROKER_HTTP_PORT": port,
        }
        async with open_broker(tmp_path, variables):
            with trio.fail_after(PATIENCE):
                while await run("--broker-http-port", port) != 0:
                    await trio.sleep(0.1)
    assert "(broker-1)" in capsys.readouterr().out
