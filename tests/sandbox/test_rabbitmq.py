import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from broker.sandbox import rabbitmq_installation
from broker.sandbox.rabbitmq_errors import RabbitmqNodeError, RabbitmqNotInstalledError
from broker.sandbox.rabbitmq_installation import Installation, find_installation
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node
from tests.sandbox.processes import (
    listening_addresses,
    needs_proc,
    processes_of,
    wait_until_gone,
)

pytestmark = pytest.mark.rabbitmq

# Opens an AMQP conversation in the name that the environment or the argument gives.
FAKE_SERVER = """
import os, socket, struct, sys
name = sys.argv[1] if len(sys.argv) > 1 else os.environ["RABBITMQ_NODENAME"]
payload = struct.pack(">HH", 10, 10) + name.encode()
with socket.create_server(("127.0.0.1", int(os.environ["RABBITMQ_NODE_PORT"]))) as listener:
    while True:
        client, _ = listener.accept()
        with client:
            client.recv(8)
            client.sendall(struct.pack(">BHI", 1, 0, len(payload)) + payload)
"""
OPENER = """
import sys, trio
from pathlib import Path
from tests.lab.rabbitmq_node import open_rabbitmq_node
from tests.sandbox.test_rabbitmq import fake
async def main():
    async with open_rabbitmq_node(fake(Path(sys.argv[1]))) as node:
        print(node.directory, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    """A folder of commands, with an `epmd` that runs and a `rabbitmq-server` that never answers."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("rabbitmqctl", "epmd", "erl", "rabbitmq-server"):
        write_script(directory / name, "exec sleep 1000")
    (directory / "server.py").write_text(FAKE_SERVER)
    return directory


def fake(bin_: Path) -> Installation:
    server, ctl, epmd = (str(bin_ / name) for name in ("rabbitmq-server", "rabbitmqctl", "epmd"))
    return Installation(server, ctl, epmd, os.environ["PATH"])


def serving(bin_: Path, prelude: str, name: str = "") -> None:
    """Let the node do something, and then speak AMQP in its own name or in another one."""
    script = f"{prelude}\nexec {sys.executable} {bin_}/server.py {name}"
    write_script(bin_ / "rabbitmq-server", script)


async def assert_fails(bin_: Path, says: str, startup_timeout: float = 60) -> None:
    with pytest.raises(RabbitmqNodeError, match=says):
        async with open_rabbitmq_node(fake(bin_), startup_timeout=startup_timeout):
            pytest.fail("it cannot have started")


def write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def created_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nodes of the test leave no directory behind."""
    directory = tmp_path / "created"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield
    assert list(directory.iterdir()) == []


async def test_ctl(rabbitmq: RabbitmqNode) -> None:
    assert "guest" in await rabbitmq.ctl("list_users")
    with pytest.raises(RabbitmqNodeError, match=r"delete_vhost failed.*no_such"):
        await rabbitmq.ctl("delete_vhost", "no_such")
    with pytest.raises(RabbitmqNodeError, match="took more than"):
        await rabbitmq.ctl("status", within=0)


def test_log_tail_gives_the_last_lines(rabbitmq: RabbitmqNode) -> None:
    assert "Starting RabbitMQ" in rabbitmq.log_tail(10_000_000)
    assert len(rabbitmq.log_tail(2).splitlines()) == 2


@needs_proc
def test_listens_on_loopback_only(rabbitmq: RabbitmqNode) -> None:
    loopback = {"0100007F", "00000000000000000000000001000000"}

    addresses = listening_addresses(processes_of(rabbitmq.directory))

    assert rabbitmq.port in addresses
    assert len(addresses) == 3  # AMQP, distribution, epmd
    assert set(addresses.values()) <= loopback


@pytest.mark.exhaustive
@needs_proc
async def test_keeps_data_and_address_over_restarts_and_nothing_after_the_end() -> None:
    async with open_rabbitmq_node(config="max_message_size = 4711\n") as node:
        url = node.url
        await node.ctl("add_vhost", "durable")

        await node.kill()
        assert not await node.answers()
        await node.start()
        assert "durable" in await node.ctl("list_vhosts")
        assert "{max_message_size,4711}" in await node.ctl("environment")
        assert node.url == url

        await node.pause()
        await node.resume()
        assert await node.answers()

        await node.pause()
        await node.stop()
        assert "SIGTERM received" in node.log_tail(100)
        assert not await node.answers()
        await node.stop()
        await node.kill()

    assert not node.directory.exists()
    await trio.to_thread.run_sync(wait_until_gone, node.directory)


@needs_proc
def test_nothing_survives_an_opener_that_is_killed(bin_: Path) -> None:
    serving(bin_, "")
    command = [sys.executable, "-c", OPENER, str(bin_)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as opener:
        assert opener.stdout is not None
        directory = Path(opener.stdout.readline().decode().strip())
        assert len(processes_of(directory)) == 4  # two keepers, the node, epmd

        opener.kill()

    wait_until_gone(directory)


async def test_tries_other_ports_when_the_node_ends_while_starting(bin_: Path) -> None:
    attempts = bin_ / "attempts"
    serving(bin_, f"echo attempt >> {attempts}; [ $(wc -l < {attempts}) -gt 1 ] || exit 1")

    async with open_rabbitmq_node(fake(bin_)) as node:
        assert await node.answers()

    assert attempts.read_text() == "attempt\nattempt\n"


@pytest.mark.usefixtures("created_directories")
@pytest.mark.parametrize("program", ["rabbitmq-server", "epmd"])
async def test_one_that_always_ends_is_reported_with_its_log(bin_: Path, program: str) -> None:
    write_script(bin_ / program, "echo out of luck; exit 1")
    await assert_fails(bin_, "ended while starting:\nout of luck")


@pytest.mark.usefixtures("created_directories")
@pytest.mark.parametrize("name", ["", "somebody-else"])
async def test_a_node_that_does_not_answer_in_its_own_name_is_reported(
    bin_: Path, name: str
) -> None:
    if name:
        serving(bin_, "echo still busy", name)
    else:
        write_script(bin_ / "rabbitmq-server", "echo still busy; exec sleep 1000")
    await assert_fails(bin_, "not ready after 1 s:\nstill busy", startup_timeout=1)


@pytest.mark.usefixtures("created_directories")
@pytest.mark.parametrize("program", ["epmd", "rabbitmq-server"])
async def test_a_command_that_cannot_be_run_is_reported(bin_: Path, program: str) -> None:
    (bin_ / program).write_text("#!/no/such/interpreter")
    await assert_fails(bin_, f"{program} could not be started")


@pytest.mark.usefixtures("created_directories")
async def test_a_cancelled_opening_leaves_nothing(bin_: Path) -> None:
    with trio.move_on_after(0.5) as scope:
        async with open_rabbitmq_node(fake(bin_)):
            pytest.fail("it cannot have started")
    assert scope.cancelled_caught


async def test_a_node_can_be_asked_for_what_it_is_already(bin_: Path) -> None:
    serving(bin_, "echo started")

    async with open_rabbitmq_node(fake(bin_)) as node:
        await node.start()
        assert node.log_tail(10) == "started"
        for ended in (node.stop, node.stop, node.kill, node.pause, node.resume):
            await ended()
            assert not await node.answers()
        await node.start()
        assert node.log_tail(10) == "started\nstarted"


@pytest.mark.parametrize("missing", ["rabbitmq-server", "rabbitmqctl", "epmd", "erl"])
def test_says_how_to_install_what_is_missing(
    bin_: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(rabbitmq_installation, "PACKAGE_DIRECTORIES", (str(bin_),))
    monkeypatch.setattr(rabbitmq_installation, "EXTRA_DIRECTORIES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_installation().epmd == str(bin_ / "epmd")
    (bin_ / missing).unlink()
    with pytest.raises(RabbitmqNotInstalledError, match="apt-get install rabbitmq-server"):
        find_installation()


async def test_another_installations_settings_do_not_leak_in(
    bin_: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ_BASE", "leaked")
    monkeypatch.setenv("ERL_AFLAGS", "leaked")
    serving(bin_, "env")

    async with open_rabbitmq_node(fake(bin_)) as node:
        log = node.log_tail(1000)

    assert "RABBITMQ_NODENAME=" in log
    assert "leaked" not in log
