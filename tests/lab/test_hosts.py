"""A network swallows what it is to swallow, and disappears with its opener."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.lab.eventually import eventually
from tests.lab.hosts import Host, open_network, why_no_network

pytestmark = pytest.mark.exhaustive

PATIENCE = 60.0
SILENCE = 2.0
"""Seconds without an answer that count as none: others come in milliseconds."""
PORT = 9
ASK = f"""
import socket, sys
try:
    socket.create_connection((sys.argv[1], {PORT}), timeout={SILENCE})
except OSError as error:
    print(type(error).__name__)
"""
OPENER = """
import trio
from tests.lab.hosts import open_network
async def main():
    async with open_network(1) as network:
        print(network.hosts[0].address, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@pytest.fixture(autouse=True)
def possible() -> None:
    if reason := why_no_network():
        pytest.skip(reason)


async def answer(host: Host, asked_by: Host) -> str:
    command = (*asked_by.inside, sys.executable, "-c", ASK, host.address)
    completed = await trio.run_process(command, capture_stdout=True)
    return completed.stdout.decode().strip()


async def test_a_host_that_is_cut_off_neither_answers_nor_refuses() -> None:
    refused, silent = "ConnectionRefusedError", "TimeoutError"
    with trio.fail_after(PATIENCE):
        async with open_network(3) as network:
            one, cut, other = network.hosts
            assert await answer(cut, one) == refused, "nobody listens, and the host says so"

            await network.cut(cut)
            assert await answer(cut, one) == await answer(one, cut) == silent
            assert await answer(one, other) == refused
            with trio.move_on_after(SILENCE) as waiting:
                await trio.open_tcp_stream(cut.address, PORT)
            assert waiting.cancelled_caught, "this machine is not told either"

            await network.mend(cut)
            assert await answer(cut, one) == await answer(one, cut) == refused


def test_it_disappears_with_an_opener_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OPENER], stdout=subprocess.PIPE) as opener:
        assert opener.stdout is not None
        subnet = opener.stdout.readline().decode().split(".")[2]
        link = Path(f"/sys/class/net/hosts{subnet}-0")
        assert link.exists()
        opener.kill()
    trio.run(eventually, lambda: not link.exists(), "no link is left")
