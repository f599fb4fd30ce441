"""A broker that is killed and comes back; here it is a process that only sleeps."""

import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trio

from broker.sandbox import restarting_broker
from broker.sandbox.broker_process import BrokerProcess, BrokerProcessError, open_broker
from broker.sandbox.restarting_broker import RestartingBroker, stop_broker
from tests.sandbox.processes import PATIENCE

GRACEFUL = ("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RestartingBroker:
    monkeypatch.setattr(restarting_broker, "open_broker", partial(open_broker, command=GRACEFUL))
    return RestartingBroker(tmp_path, {})


async def until_started(broker: RestartingBroker, times: int) -> None:
    with trio.fail_after(PATIENCE):
        while not broker.log.exists() or broker.log.read_text().count("up") < times:
            await trio.sleep(0.01)


async def test_it_is_started_again_after_each_kill(
    broker: RestartingBroker, nursery: trio.Nursery
) -> None:
    await nursery.start(broker.run)
    first = broker.pid
    await until_started(broker, 1)

    assert broker.kill()
    assert not broker.kill()  # it is dead, or about to be
    with trio.fail_after(PATIENCE):
        await broker.started_again()

    second = broker.pid
    assert second not in {None, first}
    assert broker.kills == 1
    assert broker.uptime < PATIENCE
    await until_started(broker, 2)
    with trio.fail_after(PATIENCE):
        assert await broker.stop() == []
        await broker.ended.wait()
    assert broker.pid is None
    assert not broker.kill()


async def test_one_that_ends_by_itself_is_not_started_again(
    broker: RestartingBroker, nursery: trio.Nursery
) -> None:
    await nursery.start(broker.run)
    os.kill(broker.pid or 0, signal.SIGKILL)
    with trio.fail_after(PATIENCE):
        await broker.ended.wait()
        assert await broker.stop() == ["The broker ended by itself with exit status 137."]
    assert broker.pid is None


async def test_one_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = partial(open_broker, command=("/none/such",))
    monkeypatch.setattr(restarting_broker, "open_broker", opening)
    with pytest.raises(BrokerProcessError):
        await RestartingBroker(tmp_path, {}).run()


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
    assert await stop_broker(cast("BrokerProcess", broker)) == problems
