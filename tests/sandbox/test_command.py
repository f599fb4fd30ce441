import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import aiormq
import pytest
import trio

from broker.sandbox import command, rabbitmq_installation, system
from broker.sandbox.agents import agent_names
from broker.sandbox.broker_process import BrokerProcess, open_broker
from broker.sandbox.conversation import Conversation
from broker.sandbox.server_queues import QUEUES, agent_queue
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.processes import PATIENCE, needs_proc, processes_with

ACCOUNTED = "Every message is accounted for."
ON_THE_SHARED_NODE = """
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from broker.cli.application import execute
from broker.sandbox import command
@asynccontextmanager
async def open_shared_node():
    url, host, port, directory = sys.argv[1:]
    yield SimpleNamespace(url=url, host=host, port=int(port), directory=Path(directory))
command.open_rabbitmq_node = open_shared_node
sys.exit(execute(["sandbox"]))
"""
UNINSTALLED = """
import sys
from broker.cli.application import execute
from broker.sandbox import rabbitmq_installation as installation
installation.PACKAGE_DIRECTORIES = installation.EXTRA_DIRECTORIES = ()
sys.exit(execute(["sandbox"]))
"""


class Surroundings:
    """The environment of a sandbox, by which everything that it starts can be told."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mark = str(uuid4())

    @property
    def environment(self) -> Mapping[str, str]:
        directory = str(self._directory)
        return {**os.environ, "SANDBOX": self._mark, "TMPDIR": directory, "TERM": "xterm"}

    def assert_nothing_is_left(self) -> None:
        assert processes_with("SANDBOX", self._mark) == []
        assert list(self._directory.iterdir()) == []


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


async def purge(url: str) -> None:
    queues = (*QUEUES, *(agent_queue(name.lower()) for name in agent_names(5)))
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        for queue in queues:
            await channel.queue_declare(queue, durable=True)
            await channel.queue_purge(queue)


@pytest.fixture
def on_the_shared_node(rabbitmq: RabbitmqNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Spare the time that a node takes to start, and leave the logging as it is."""

    @asynccontextmanager
    async def open_shared_node() -> AsyncIterator[RabbitmqNode]:
        yield rabbitmq

    monkeypatch.setattr(command, "open_rabbitmq_node", open_shared_node)
    monkeypatch.setattr(command, "configure_logging", lambda *_: None)
    yield
    asyncio.run(purge(rabbitmq.url))  # what a broker that failed has left


def start(
    surroundings: Surroundings, *arguments: str, stdout: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=surroundings.environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@needs_proc
def test_all_messages_are_accounted_for_and_nothing_is_left(surroundings: Surroundings) -> None:
    """Without a terminal there are a hundred."""
    process = start(surroundings, *("-m", "broker", "sandbox", "--malformed", "5", "--seed", "7"))

    output, errors = process.communicate(timeout=PATIENCE)

    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert process.returncode == 0, output + errors
    assert lines[-1] == ACCOUNTED
    assert "sent 100 by 5 agents" in lines
    assert "dead letters 5 5 malformed on purpose" in lines
    assert "duplicates 0" in lines
    assert "seed 7" in lines
    counts = {words[0]: int(words[1]) for line in lines if (words := line.split())[1].isdigit()}
    assert counts["routed"] + counts["errors"] == 95
    agents = [line.split() for line in lines if " received " in line]
    assert [words[0] for words in agents] == ["Alice", "Bob", "Carol", "Dave", "Erin"]
    assert sum(int(words[2]) for words in agents) == 100
    assert sum(int(words[4]) for words in agents) == counts["routed"]
    assert errors == ""
    surroundings.assert_nothing_is_left()


@needs_proc
@pytest.mark.usefixtures("on_the_shared_node")
def test_the_live_view_ends_by_ctrl_c_with_a_summary(
    surroundings: Surroundings, rabbitmq: RabbitmqNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("node")
    terminal, other_end = pty.openpty()
    process = start(
        surroundings,
        *("-c", ON_THE_SHARED_NODE, rabbitmq.url, rabbitmq.host, str(rabbitmq.port)),
        str(directory),
        stdout=other_end,
    )
    os.close(other_end)
    screen = b""
    for part in parts_of(terminal):
        screen += part
        if screen.count("→".encode()) > 20:
            break
    process.send_signal(signal.SIGINT)
    screen += b"".join(parts_of(terminal))
    os.close(terminal)
    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0, errors
    _, _, summary = screen.decode().rpartition("\x1b[?1049l")
    assert ACCOUNTED in summary
    assert "agents" in summary
    assert errors == ""
    surroundings.assert_nothing_is_left()


def parts_of(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # how Linux reports that the other end was closed
            return
        if not part:
            return
        yield part


@needs_proc
def test_ctrl_c_while_the_node_starts(surroundings: Surroundings) -> None:
    process = start(surroundings, "-m", "broker", "sandbox")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Starting RabbitMQ")

    process.send_signal(signal.SIGINT)

    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert output + errors == ""
    surroundings.assert_nothing_is_left()


def test_without_rabbitmq_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "configure_logging", lambda *_: None)
    monkeypatch.setattr(rabbitmq_installation, "PACKAGE_DIRECTORIES", ())
    monkeypatch.setattr(rabbitmq_installation, "EXTRA_DIRECTORIES", ())
    monkeypatch.setenv("PATH", str(tmp_path))

    assert command.run(agents=5, messages=None, seed=None, malformed=0) == 1

    assert "apt-get install rabbitmq-server" in capsys.readouterr().out


def test_it_does_not_mind_that_nobody_reads_its_output(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UNINSTALLED],
        env={**os.environ, "PATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1


@pytest.mark.usefixtures("on_the_shared_node")
def test_with_a_terminal_and_a_number_of_messages_there_is_a_progress_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert command.run(agents=3, messages=20, seed=1, malformed=0) == 0

    output = capsys.readouterr().out
    assert "20/20" in output
    assert ACCOUNTED in output


@pytest.mark.usefixtures("on_the_shared_node")
def test_a_policy_and_slow_agents(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policies: list[str] = []

    def open_known_broker(
        directory: Path, settings: Mapping[str, str]
    ) -> AbstractAsyncContextManager[BrokerProcess]:
        policies.append(settings["BROKER_ROUTING_POLICY"])
        return open_broker(directory, settings)

    monkeypatch.setattr(system, "open_broker", open_known_broker)
    monkeypatch.setattr(system, "SLOW_ANSWER", 0.05)

    assert (
        command.run(
            agents=4,
            messages=40,
            seed=1,
            malformed=0,
            policy="least_outstanding",
            slow_agents=2,
            hold=30,
        )
        == 0
    )

    output = capsys.readouterr().out
    assert ACCOUNTED in output
    assert policies == ["least_outstanding"]
    agents = [line.split() for line in output.splitlines() if " received " in line]
    assert [words[0] for words in agents if words[-1] == "slow"] == ["Carol", "Dave"]


@pytest.fixture
def kept_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def make(prefix: str) -> str:
        (tmp_path / prefix).mkdir()
        return str(tmp_path / prefix)

    monkeypatch.setattr(command, "mkdtemp", make)
    return tmp_path / "broker-sandbox-" / "broker.log"


@pytest.mark.usefixtures("on_the_shared_node")
def test_a_broker_that_dies_is_reported_with_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept_logs: Path
) -> None:
    pids: list[int] = []
    exchange = Conversation.exchange

    @asynccontextmanager
    async def open_known_broker(
        directory: Path, settings: Mapping[str, str]
    ) -> AsyncIterator[BrokerProcess]:
        async with open_broker(directory, settings) as broker:
            pids.append(broker.pid)
            yield broker

    async def exchange_without_broker(conversation: Conversation, messages: int) -> None:
        os.kill(pids[0], signal.SIGKILL)
        await exchange(conversation, messages)

    monkeypatch.setattr(system, "open_broker", open_known_broker)
    monkeypatch.setattr(Conversation, "exchange", exchange_without_broker)

    assert command.run(agents=2, messages=50, seed=1, malformed=0) == 1

    output = capsys.readouterr().out
    assert "The broker ended by itself with exit status 137." in output
    assert "messages are missing: message-1" in output
    assert str(kept_logs) in output
    assert "broker_starting" in kept_logs.read_text()
    assert kept_logs.read_text().splitlines()[-1] in output
    assert ACCOUNTED not in output


@pytest.mark.usefixtures("on_the_shared_node", "kept_logs")
def test_a_broker_that_does_not_get_ready(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def open_wrong_broker(
        directory: Path, settings: Mapping[str, str]
    ) -> AbstractAsyncContextManager[BrokerProcess]:
        return open_broker(directory, {**settings, "BROKER_PREFETCH": "none"})

    monkeypatch.setattr(system, "open_broker", open_wrong_broker)

    assert command.run(agents=2, messages=50, seed=1, malformed=0) == 1

    output = capsys.readouterr().out
    assert "The broker ended by itself with exit status 2." in output
    assert "The broker did not get ready to route." in output


@pytest.mark.parametrize(
    ("is_running", "status", "problems"),
    [
        (True, 0, []),
        (True, 3, ["The broker stopped with exit status 3."]),
        (True, None, ["The broker did not stop within 15 s."]),
        (False, 0, ["The broker ended by itself with exit status 0."]),
    ],
)
async def test_the_way_the_broker_stops_counts(
    *, is_running: bool, status: int | None, problems: list[str]
) -> None:
    async def ended() -> int | None:
        await trio.lowlevel.checkpoint()
        return status

    broker = SimpleNamespace(is_running=is_running, wait=ended, stop=ended)
    assert await system.stop_broker(cast("BrokerProcess", broker)) == problems
