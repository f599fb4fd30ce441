"""SIGTERM and its like to the real process, in the states in which they come."""

import os
import signal
from contextlib import suppress
from itertools import count, islice
from pathlib import Path

import pytest
import trio

from broker.sandbox.broker_process import COMMAND
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer
from tests.lab.eventually import PATIENCE, eventually
from tests.lab.running_broker import RunningBroker

DEADLINE = 30
"""Seconds; a stop takes less than one of them, on a machine without other work."""
SOON = {"BROKER_SHUTDOWN_TIMEOUT": str(DEADLINE)}


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.exhaustive)]
)
async def test_while_it_starts(number: signal.Signals, rig: Rig, server: CentralServer) -> None:
    async with rig.broker(server.url, command=COMMAND, **SOON) as broker:
        with trio.fail_after(DEADLINE):
            # It is blocked until the service takes it.
            while not _is_in(broker.pid, "SigBlk", number):
                await trio.sleep(0.001)
        os.kill(broker.pid, number)
        with trio.fail_after(DEADLINE):
            assert await broker.wait() == 0
    assert [line["graceful"] for line in await rig.logged("broker_stopped")] == [True]


def _is_in(pid: int, mask: str, number: signal.Signals) -> bool:
    """Tell whether a process blocks (SigBlk) or ignores (SigIgn) a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    signals = next(line for line in status.splitlines() if line.startswith(f"{mask}:"))
    return bool(int(signals.split()[1], 16) & 1 << (number - 1))


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGHUP, marks=pytest.mark.exhaustive),
    ],
)
async def test_idle(number: signal.Signals, rig: Rig, server: CentralServer) -> None:
    async with rig.broker(server.url, command=COMMAND, **SOON) as broker:
        await rig.logged("amqp_connected")
        os.kill(broker.pid, number)
        with trio.fail_after(DEADLINE):
            assert await broker.wait() == 0
    assert [line["signal"] for line in await rig.logged("stopping")] == [number.name]
    assert [line["graceful"] for line in await rig.logged("broker_stopped")] == [True]


async def test_under_nohup_a_hangup_stays_ignored(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server)
    async with rig.broker(server.url, command=("nohup", *COMMAND), **SOON) as broker:
        await rig.logged("routing_started")
        assert _is_in(broker.pid, "SigIgn", signal.SIGHUP)
        os.kill(broker.pid, signal.SIGHUP)
        await rig.publish(rig.input, text(1, agents[0]))
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
        assert await terminate(broker, DEADLINE) == 0
    assert [line["signal"] for line in await rig.logged("stopping")] == ["SIGTERM"]


async def test_a_terminal_that_closes(rig: Rig, server: CentralServer) -> None:
    """What it still logs has nowhere to go, and that is no failure."""
    agents = bring_online(server)
    await rig.declare(rig.input, rig.output)
    terminal, inner = os.openpty()
    broker = await trio.lowlevel.open_process(
        ("env", "--default-signal=HUP", "setsid", "--ctty", *COMMAND),
        stdin=inner,
        stdout=inner,
        stderr=inner,
        cwd=rig.directory,
        env={**os.environ, **rig.settings(server.url, BROKER_HTTP_PORT="off", **SOON)},
    )
    os.close(inner)
    try:
        await rig.publish(rig.input, text(1, agents[0]))
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
        os.close(terminal)
        with trio.fail_after(DEADLINE):
            assert await broker.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            broker.kill()


async def test_under_load_nothing_is_lost_or_doubled(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server)
    numbers = count()

    async def load(broker: RunningBroker) -> None:
        """Publish until the broker has ended, and once more."""
        is_running = True
        while is_running:
            is_running = broker.is_running
            await rig.publish(rig.input, *(text(n, agents[0]) for n in islice(numbers, 500)))

    async with rig.broker(server.url, **SOON) as broker:
        await rig.logged("routing_started")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load, broker)
            await eventually(lambda: rig.ready(rig.output))
            assert await terminate(broker, DEADLINE) == 0
    published = next(numbers)
    await eventually(lambda: rig.ready(rig.input, rig.output), until=lambda n: n == published)
    waiting = ids(await rig.take_all(rig.input))
    routed = ids(await rig.take_all(rig.output))
    assert routed + waiting == [f"m-{number}" for number in range(published)]


async def test_the_broker_stays_until_all_that_it_took_is_settled(
    rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    await rig.declare(rig.output, x_max_length=1, x_overflow="reject-publish")
    await rig.publish(rig.output, text(0, agents[0]))
    async with rig.broker(server.url, BROKER_SHUTDOWN_TIMEOUT="30") as broker:
        await rig.logged("routing_started")
        await rig.publish(rig.input, text(1, agents[0]))
        await rig.logged("publishing_refused")
        os.kill(broker.pid, signal.SIGTERM)
        # It has let go of the input, and one that would leave would have nothing left to do.
        await eventually(lambda: rig.look(rig.input), until=lambda seen: seen.consumers == 0)
        assert server.session_count == 1
        assert ids(await rig.take(rig.output, 2)) == ["m-0", "m-1"]
        with trio.fail_after(PATIENCE):
            assert await broker.wait() == 0
    assert await rig.ready(rig.input) == 0
    assert await rig.ready(rig.output) == 0
