"""The broker is asked to stop, in every state that it may be in."""

import os
import signal
from pathlib import Path

import trio

from broker.sandbox.broker_process import COMMAND
from tests.faults.arena import Arena
from tests.faults.checker import Allowed
from tests.faults.failure import ScenarioFailedError
from tests.faults.scenario import Scenario

_SHUTDOWN_TIMEOUT = 4.0
_OWN_END = 1.0
"""Seconds for the process's own end: the interpreter's, and that of its keeper."""
_AT_ONCE = 1.0
_START_TIMEOUT = 10.0
_POLL_INTERVAL = 0.05
_STALE_AFTER = 1.0
_RATE = 500.0
_DELAY = 0.1
_LIFE = (0.0, 1.0)
"""Seconds that a broker routes before it is asked to stop."""
_SETTLED = 0
_UNSETTLED = 1

_AS_PROCESS_ONE = ("unshare", "--pid", "--fork", "--kill-child", *COMMAND)
"""As in a container. No signal ends a process 1 that does not handle it."""


async def stop(arena: Arena) -> Allowed:
    """Stop a broker that is idle, and others in the middle of their work."""
    rounds = 5 if arena.is_long else 1
    await _start(arena)
    async with arena.load(_RATE):
        await arena.routing()
    await arena.drained()
    await _stop(arena, _SETTLED)
    async with arena.load(_RATE):
        for number in (signal.SIGTERM, signal.SIGINT) * rounds:
            await _start_routing(arena)
            await trio.sleep(arena.random.uniform(*_LIFE))
            await _stop(arena, _SETTLED, number)
    return Allowed(duplicates=0)


async def stop_as_process_one(arena: Arena) -> Allowed:
    """Stop a broker that is process 1 of its namespace."""
    rounds = 5 if arena.is_long else 1
    async with arena.load(_RATE):
        for number in (signal.SIGTERM, signal.SIGINT) * rounds:
            await _start_routing(arena, _AS_PROCESS_ONE)
            await trio.sleep(arena.random.uniform(*_LIFE))
            await _stop(arena, _SETTLED, number, pid=_only_child(arena.broker.pid))
    return Allowed(duplicates=0)


async def stop_without_server(arena: Arena) -> Allowed:
    """Stop a broker whose server hangs, or is away: at first, when it is missed, and for long."""
    rounds = 3 if arena.is_long else 1
    async with arena.load(_RATE):
        for _ in range(rounds):
            await _start_routing(arena)
            arena.websocket.stall()
            await trio.sleep(arena.random.uniform(*_LIFE))
            await _stop(arena, _SETTLED)
            arena.websocket.heal()

            await _start_routing(arena)
            _take_server_away(arena)
            await arena.broker.logged("server_lost")
            await trio.sleep(arena.random.uniform(*_LIFE))
            await _stop(arena, _SETTLED)
            arena.websocket.heal()

            await _start_routing(arena, BROKER_REGISTRY_TTL=str(_STALE_AFTER))
            _take_server_away(arena)
            await arena.broker.logged("registry_stale")
            await trio.sleep(arena.random.uniform(0, 2 * _DELAY))  # it takes longer to pause
            await _stop(arena, _SETTLED)
            arena.websocket.heal()

            await _start_routing(arena, BROKER_REGISTRY_TTL=str(_STALE_AFTER))
            _take_server_away(arena)
            await arena.broker.logged("routing_paused")
            await _stop(arena, _SETTLED)
            arena.websocket.heal()
    return Allowed(duplicates=0)


async def stop_without_rabbitmq(arena: Arena) -> Allowed:
    """Stop a broker whose RabbitMQ is away, or hangs: before it has logged in, and while it routes.

    What the broker held when it lost RabbitMQ is back in its queue; what it holds while RabbitMQ
    hangs, it cannot settle.
    """
    rounds = 3 if arena.is_long else 1
    async with arena.load(_RATE):
        for _ in range(rounds):
            await _start_routing(arena)
            arena.amqp.refuse()
            arena.amqp.reset()
            await arena.broker.logged("amqp_lost")
            await trio.sleep(arena.random.uniform(*_LIFE))
            await _stop(arena, _SETTLED)
            arena.amqp.heal()

            arena.amqp.stall()
            await _start(arena)
            await _until_connected(arena)
            await _stop(arena, _SETTLED)

            await _start_routing(arena)
            arena.amqp.stall()
            await trio.sleep(arena.random.uniform(*_LIFE))
            await _stop(arena, _UNSETTLED)

            await _start_routing(arena)
            arena.amqp.stall()
            await _stop_twice(arena)
    return Allowed(duplicates=3 * rounds * arena.prefetch)


async def stop_under_alarm(arena: Arena) -> Allowed:
    """Stop a broker that holds messages which RabbitMQ, short of memory, does not take."""
    rounds = 3 if arena.is_long else 1
    for number in range(rounds):
        if number:
            await _start(arena)
            await arena.drained()
            await _stop(arena, _SETTLED)
        async with arena.load() as load:
            await load.confirmed(len(arena.sent.confirmed) + 5 * arena.prefetch)
        before = (await arena.client.look(arena.queues.input)).ready
        await arena.node.ctl("set_vm_memory_high_watermark", "0")
        await _start(arena)
        await _until_taken(arena, before)
        await trio.sleep(arena.random.uniform(*_LIFE))
        await _stop(arena, _UNSETTLED)
        await arena.node.ctl("set_vm_memory_high_watermark", "0.4")
    return Allowed(duplicates=rounds * arena.prefetch)


async def _start(arena: Arena, command: tuple[str, ...] = COMMAND, **settings: str) -> None:
    await arena.broker.start(command, BROKER_SHUTDOWN_TIMEOUT=str(_SHUTDOWN_TIMEOUT), **settings)


async def _start_routing(arena: Arena, command: tuple[str, ...] = COMMAND, **settings: str) -> None:
    """Start a broker and slow its line down once it routes, so that it always holds messages."""
    arena.amqp.heal()
    await _start(arena, command, **settings)
    await arena.routing()
    arena.amqp.delay(_DELAY)


async def _stop(
    arena: Arena, expected: int, number: signal.Signals = signal.SIGTERM, *, pid: int | None = None
) -> None:
    arena.fault()
    if pid is None:
        arena.broker.send(number)
    else:
        os.kill(pid, number)
    code = await arena.broker.ended(within=_SHUTDOWN_TIMEOUT + _OWN_END)
    if code != expected:
        raise ScenarioFailedError(f"it stopped with exit code {code}, not {expected}")


async def _stop_twice(arena: Arena) -> None:
    arena.fault()
    arena.broker.send(signal.SIGTERM)
    await trio.sleep(1)
    arena.broker.send(signal.SIGTERM)
    code = await arena.broker.ended(within=_AT_ONCE)
    if code != _UNSETTLED:
        raise ScenarioFailedError(f"it left with exit code {code}, not {_UNSETTLED}")


async def _until_connected(arena: Arena) -> None:
    with trio.move_on_after(_START_TIMEOUT):
        while not arena.amqp.open_connections:
            await trio.sleep(_POLL_INTERVAL)
        return
    raise ScenarioFailedError("the broker does not connect to RabbitMQ")


async def _until_taken(arena: Arena, ready: int) -> None:
    look = arena.client.look
    with trio.move_on_after(_START_TIMEOUT):
        while (await look(arena.queues.input)).ready == ready:
            await trio.sleep(_POLL_INTERVAL)
        return
    raise ScenarioFailedError("the broker has taken no message")


def _take_server_away(arena: Arena) -> None:
    arena.websocket.refuse()
    arena.websocket.reset()


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


_PROMISE = f"it ends within {_SHUTDOWN_TIMEOUT:g} s"
_ALL_SETTLED = f"{_PROMISE}, with exit code 0 and no duplicates"

SCENARIOS = (
    Scenario(stop, fault="SIGTERM and SIGINT, idle and under load", promise=_ALL_SETTLED),
    Scenario(
        stop_as_process_one,
        fault="SIGTERM and SIGINT to process 1 of a namespace, under load",
        promise=_ALL_SETTLED,
    ),
    Scenario(
        stop_without_server,
        fault="SIGTERM while the server hangs, is away, is missed so that routing pauses",
        promise=_ALL_SETTLED,
    ),
    Scenario(
        stop_without_rabbitmq,
        fault="SIGTERM while RabbitMQ is away or hangs; and a second one",
        promise=f"{_PROMISE}, with exit code 1 if it holds messages; the second one ends it",
    ),
    Scenario(
        stop_under_alarm,
        fault="SIGTERM while RabbitMQ, short of memory, blocks",
        promise=f"{_PROMISE}, with exit code 1, as it holds messages",
        has_own_node=True,
    ),
)
