import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from broker.sandbox.broker_process import BrokerProcessError, open_broker
from tests.sandbox.processes import PATIENCE

NOWHERE = {"AMQP_URL": "amqp://127.0.0.1:1/", "WEBSOCKET_URL": "ws://127.0.0.1:1/ws"}
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(1000)
"""
OPENER = """
import sys, trio
from pathlib import Path
from broker.sandbox.broker_process import open_broker
async def main():
    settings = dict(pair.split("=", 1) for pair in sys.argv[2:])
    async with open_broker(Path(sys.argv[1]), settings) as broker:
        print(broker.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def until_logged(log: Path, text: str) -> None:
    with trio.fail_after(PATIENCE):
        while text not in await trio.Path(log).read_text():
            await trio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_runs_with_the_given_settings_only_and_stops_gracefully(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PREFETCH", "none")
    monkeypatch.setenv("broker_name", "\n")
    async with open_broker(tmp_path, {**NOWHERE, "BROKER_HTTP_PORT": "0"}) as broker:
        await until_logged(broker.log, "http_listening")
        with trio.fail_after(PATIENCE):
            assert await broker.stop() == 0
            assert await broker.stop() == 0
        assert not broker.is_running
    assert not is_running(broker.pid)


async def test_one_that_does_not_stop(tmp_path: Path) -> None:
    async with open_broker(tmp_path, NOWHERE, (sys.executable, "-c", DEAF)) as broker:
        await until_logged(broker.log, "deaf")
        assert await broker.stop(within=0.1) is None
        assert broker.is_running
        os.kill(broker.pid, signal.SIGKILL)
        with trio.fail_after(PATIENCE):
            assert await broker.wait() == 128 + signal.SIGKILL
    assert not is_running(broker.pid)


async def test_it_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(BrokerProcessError):
        async with open_broker(tmp_path, NOWHERE, ("/none/such",)):
            raise AssertionError("not reached")


def test_it_does_not_outlive_its_opener(tmp_path: Path) -> None:
    settings = [f"{variable}={value}" for variable, value in NOWHERE.items()]
    with subprocess.Popen(
        [sys.executable, "-c", OPENER, tmp_path, *settings], stdout=subprocess.PIPE
    ) as opener:
        assert opener.stdout is not None
        pid = int(opener.stdout.readline())
        opener.kill()
        opener.wait(PATIENCE)

    async def until_gone() -> None:
        with trio.fail_after(PATIENCE):
            while is_running(pid):
                await trio.sleep(0.02)

    trio.run(until_gone)
