import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import aiormq
import pytest
from rich.cells import cell_len

from broker.sandbox import command, rabbitmq_installation, restarting_broker, system
from broker.sandbox.agents import agent_names
from broker.sandbox.broker_process import BrokerProcess, open_broker
from broker.sandbox.conversation import Conversation
from broker.sandbox.server_queues import METADATA_QUEUE, QUEUES, agent_queue
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.processes import PATIENCE, needs_proc, processes_with
from tests.sandbox.terminal import BECOME_OWNER, Terminal, open_terminal

ACCOUNTED = "Every message is accounted for."
EVIL_ID = "evil\N{RIGHT-TO-LEFT OVERRIDE}"
ON_THE_SHARED_NODE = f"""
{BECOME_OWNER}
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
from broker.__main__ import main
from broker.sandbox import rabbitmq_installation as installation
installation.PACKAGE_DIRECTORIES = installation.EXTRA_DIRECTORIES = ()
sys.argv = ["broker", "sandbox"]
main()
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


@pytest.mark.exhaustive
@needs_proc
def test_the_broker_and_rabbitmq_are_killed_and_all_messages_are_accounted_for(
    surroundings: Surroundings,
) -> None:
    """Without a terminal, it prints lines; and nothing is left."""
    line = "sandbox --kill --messages 1000 --malformed 5 --seed 7"
    process = start(surroundings, *("-m", "broker", *line.split()))

    # The node starts twice, and the broker as well.
    output, errors = process.communicate(timeout=3 * PATIENCE)

    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert process.returncode == 0, output + errors
    assert lines[-1] == ACCOUNTED
    ticked = [line.split()[1] for line in lines if line.startswith(("✓", "*"))]
    assert ticked == ["RabbitMQ", "server", "broker", "agents"]
    assert "published 1000 by 5 agents" in lines
    assert "dead-lettered 50 50 malformed on purpose" in lines
    assert "in flight 0" in lines
    assert "seed 7" in lines
    for part in ("broker", "RabbitMQ"):
        assert sum(f" {part} killed, " in line for line in lines) == 1
        assert sum(f" {part} back after " in line for line in lines) == 1
    counts = {words[0]: int(words[1]) for line in lines if (words := line.split())[1].isdigit()}
    assert counts["delivered"] + counts["failed"] == 950
    assert lines[-2].startswith(f"published 1000 = delivered {counts['delivered']} + ")
    agents = [line.split() for line in lines if " received " in line]
    assert [words[0] for words in agents] == ["Alice", "Bob", "Carol", "Dave", "Erin"]
    assert sum(int(words[2]) for words in agents) == 1000
    assert sum(int(words[4]) for words in agents) >= counts["delivered"]
    assert errors == ""
    surroundings.assert_nothing_is_left()


@contextmanager
def on_a_terminal(
    surroundings: Surroundings,
    rabbitmq: RabbitmqNode,
    directory: Path,
    size: tuple[int, int],
    **variables: str,
) -> Iterator[Terminal]:
    """Run the sandbox, with a node that runs already, on a terminal of its own."""
    node = (rabbitmq.url, rabbitmq.host, str(rabbitmq.port), str(directory))
    environment = {**surroundings.environment, "PYTHONIOENCODING": "utf-8", **variables}
    columns, lines = size
    arguments = ("-c", ON_THE_SHARED_NODE, *node)
    with open_terminal(
        *arguments, columns=columns, lines=lines, environment=environment
    ) as terminal:
        yield terminal


def assert_fits(picture: list[str], columns: int, lines: int) -> None:
    assert len(picture) == lines
    assert max(map(cell_len, picture)) <= columns
    assert re.fullmatch(r" status page  http://127.0.0.1:[0-9]+/ *", picture[0])
    assert re.fullmatch(
        r' try  AMQP_URL=amqp://127.0.0.1:[0-9]+ .*broker send "hello" *', picture[2]
    )
    assert "published " in picture[-4]
    assert " q quit" in picture[-1]


async def register_evil_agent(url: str) -> None:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        body = json.dumps(
            {"message_type": "REGISTER_AGENT", "agent_id": EVIL_ID, "agent_name": EVIL_ID}
        )
        await channel.basic_publish(body.encode(), routing_key=METADATA_QUEUE)


@needs_proc
@pytest.mark.usefixtures("on_the_shared_node")
def test_keys_at_80_by_24(
    surroundings: Surroundings, rabbitmq: RabbitmqNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("node")
    with on_a_terminal(surroundings, rabbitmq, directory, (80, 24)) as terminal:
        terminal.until("→")
        assert not terminal.is_restored()
        # Known to the broker until the next full update.
        asyncio.run(register_evil_agent(rabbitmq.url))
        terminal.until(r"→ evil\u202e")
        assert_fits(terminal.picture(), 80, 24)
        terminal.type(b"k")
        terminal.until_matched(r"● broker  pid \d+ up \d+:\d+ kills 1")
        terminal.type(b"p")
        terminal.until("● server paused")
        terminal.type(b"p")
        terminal.until("● server  ")
        terminal.type(b"o")
        terminal.until(" goes", "the last agent stays")
        terminal.type(b"a")
        terminal.until(" comes", "all agents are online")
        # It ends when the server, without which nothing is accounted for, and the broker are back.
        terminal.type(b"kpq")
        summary = terminal.end()
        assert terminal.process.returncode == 0, summary
        assert terminal.is_restored()
    for event in ("broker killed, ", "broker back after ", "server paused", "server goes on"):
        assert event in summary
    assert summary.rstrip().endswith(ACCOUNTED)
    surroundings.assert_nothing_is_left()


@needs_proc
@pytest.mark.usefixtures("on_the_shared_node")
def test_ctrl_z_and_ctrl_c_at_120_by_40(
    surroundings: Surroundings, rabbitmq: RabbitmqNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("node")
    with on_a_terminal(surroundings, rabbitmq, directory, (120, 40)) as terminal:
        terminal.until("→")
        assert_fits(terminal.picture(), 120, 40)
        # A shell would stop it; here there is none, and the kernel stops no orphan by Ctrl-Z.
        terminal.process.send_signal(signal.SIGTSTP)
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED)
        assert terminal.is_restored()
        terminal.process.send_signal(signal.SIGCONT)
        terminal.until_taken()
        terminal.type(b"\x1b[A")
        terminal.until("→")
        terminal.type(b"\x03")
        summary = terminal.end()
        assert terminal.process.returncode == 0, summary
        assert terminal.is_restored()
    assert summary.rstrip().endswith(ACCOUNTED)
    surroundings.assert_nothing_is_left()


@needs_proc
@pytest.mark.usefixtures("on_the_shared_node")
def test_a_dumb_terminal_gets_lines(
    surroundings: Surroundings, rabbitmq: RabbitmqNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("node")
    dumb = on_a_terminal(surroundings, rabbitmq, directory, (80, 24), TERM="dumb")
    with dumb as terminal:
        for _ in range(2):
            terminal.until("published ")
            assert terminal.is_restored()
            terminal.type(b"")
        terminal.process.send_signal(signal.SIGTERM)
        written = terminal.end()
        assert terminal.process.returncode == 0, written
    assert written.rstrip().endswith(ACCOUNTED)
    surroundings.assert_nothing_is_left()


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

    monkeypatch.setattr(restarting_broker, "open_broker", open_known_broker)
    monkeypatch.setattr(system, "SLOW_ANSWER", 0.05)

    assert (
        command.run(
            agents=4,
            messages=None,
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
    assert "published 100 = delivered " in output
    assert policies == ["least_outstanding"]
    agents = [line.split() for line in output.splitlines() if " received " in line]
    assert [words[0] for words in agents if words[-1] == "slow"] == ["Carol", "Dave"]


def test_a_port_that_is_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command.run(agents=2, messages=1, seed=1, malformed=0, http_port=port) == 2
    error = capsys.readouterr().err
    assert error == f"broker: --http-port must be a free port, {port} is in use\n"


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

    monkeypatch.setattr(restarting_broker, "open_broker", open_known_broker)
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

    monkeypatch.setattr(restarting_broker, "open_broker", open_wrong_broker)

    assert command.run(agents=2, messages=50, seed=1, malformed=0) == 1

    output = capsys.readouterr().out
    assert "The broker ended by itself with exit status 2." in output
    assert "The broker did not get ready to route." in output
