"""The broker is asked to stop, in every state that it may be in."""

import os
import signal
from functools import partial
from operator import gt
from pathlib import Path

import trio

from broker.sandbox.broker_process import COMMAND
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import ROOM, scenario
from tests.lab.eventually import eventually
from tests.lab.limits import alarmed

_SHUTDOWN_TIMEOUT = 4.0
_OWN_END = 1.0 * ROOM
"""Seconds for the process's own end: the interpreter's, and that of its keeper."""
_AT_ONCE = 1.0 * ROOM
_START_TIMEOUT = 30.0
_TTL, _STALE_AFTER = 60.0, 1.0
_RATE = 500.0
_DELAY = 0.1
_LIFE = (0.0, 1.0)
"""Seconds that a broker routes before it is asked to stop."""
_SETTLED = 0
_UNSETTLED = 1

_AS_PROCESS_ONE = ("unshare", "--pid", "--fork", "--kill-child", *COMMAND)
"""As in a container. No signal ends a process 1 that does not handle it."""


_PROMISE = f"it ends within {_SHUTDOWN_TIMEOUT:g} s"
_ALL_SETTLED = f"{_PROMISE}, with exit code 0 and no duplicates"


@scenario(fault="SIGTERM and SIGINT, idle and under load", promise=_ALL_SETTLED)
async def stop(env: Environment) -> Allowed:
    rounds = 5 if env.is_long else 1
    await _start(env)
    async with env.load(_RATE):
        await env.routing()
    await env.drained()
    await _stop(env, _SETTLED)
    async with env.load(_RATE):
        for number in (signal.SIGTERM, signal.SIGINT) * rounds:
            await _start_routing(env)
            await trio.sleep(env.random.uniform(*_LIFE))
            await _stop(env, _SETTLED, number)
    return Allowed(duplicates=0)


@scenario(fault="SIGTERM and SIGINT to process 1 of a namespace, under load", promise=_ALL_SETTLED)
async def stop_as_process_one(env: Environment) -> Allowed:
    rounds = 5 if env.is_long else 1
    async with env.load(_RATE):
        for number in (signal.SIGTERM, signal.SIGINT) * rounds:
            await _start_routing(env, _AS_PROCESS_ONE)
            await trio.sleep(env.random.uniform(*_LIFE))
            await _stop(env, _SETTLED, number, pid=_only_child(env.broker.pid))
    return Allowed(duplicates=0)


@scenario(
    fault="SIGTERM while the server hangs, is unavailable, or has been until routing paused",
    promise=_ALL_SETTLED,
)
async def stop_without_server(env: Environment) -> Allowed:
    stall, take_away = partial(env.websocket.stall), partial(_take_server_away, env)
    states = [
        (stall, _TTL, "", _LIFE),
        (take_away, _TTL, "server_lost", _LIFE),
        (take_away, _STALE_AFTER, "registry_stale", (0, 2 * _DELAY)),  # it takes longer to pause
        (take_away, _STALE_AFTER, "routing_paused", (0, 0)),
    ]
    async with env.load(_RATE):
        for harm, ttl, event, pause in states * (3 if env.is_long else 1):
            await _start_routing(env, BROKER_REGISTRY_TTL=str(ttl))
            harm()
            if event:
                await env.broker.logged(event)
            await trio.sleep(env.random.uniform(*pause))
            await _stop(env, _SETTLED)
            env.websocket.heal()
    return Allowed(duplicates=0)


@scenario(
    fault="SIGTERM while RabbitMQ is unavailable or hangs; then a second SIGTERM",
    promise=f"{_PROMISE}, with exit code 1 if it holds messages; the second signal ends it at once",
)
async def stop_without_rabbitmq(env: Environment) -> Allowed:
    """Stop a broker whose RabbitMQ is away, or hangs: before it has logged in, and while it routes.

    What the broker held when it lost RabbitMQ is back in its queue; what it holds while RabbitMQ
    hangs, it cannot settle.
    """
    rounds = 3 if env.is_long else 1
    async with env.load(_RATE):
        for _ in range(rounds):
            await _start_routing(env)
            env.amqp.refuse()
            env.amqp.reset()
            await env.broker.logged("amqp_lost")
            await trio.sleep(env.random.uniform(*_LIFE))
            await _stop(env, _SETTLED)
            env.amqp.heal()

            env.amqp.stall()
            await _start(env)
            await eventually(
                lambda: env.amqp.open_connections, "a connection", within=_START_TIMEOUT
            )
            await _stop(env, _SETTLED)

            await _start_routing(env)
            env.amqp.stall()
            await trio.sleep(env.random.uniform(*_LIFE))
            await _stop(env, _UNSETTLED)

            await _start_routing(env)
            env.amqp.stall()
            await _stop_twice(env)
    return Allowed(duplicates=3 * rounds * env.prefetch)


@scenario(
    fault="SIGTERM during a memory alarm",
    promise=f"{_PROMISE}, with exit code 1, as it holds messages",
)
async def stop_under_alarm(env: Environment) -> Allowed:
    rounds = 3 if env.is_long else 1
    for number in range(rounds):
        if number:
            await _start(env)
            await env.drained()
            await _stop(env, _SETTLED)
        async with env.load(2_000) as load:
            await load.confirmed(len(env.sent.confirmed) + 5 * env.prefetch)
        before = await env.client.ready(env.queues.input)
        async with alarmed(env.node):
            await _start(env)
            await eventually(
                lambda: env.client.ready(env.queues.input),
                "the broker takes messages",
                until=partial(gt, before),
                within=_START_TIMEOUT,
            )
            await trio.sleep(env.random.uniform(*_LIFE))
            await _stop(env, _UNSETTLED)
    return Allowed(duplicates=rounds * env.prefetch)


async def _start(env: Environment, command: tuple[str, ...] = COMMAND, **settings: str) -> None:
    await env.broker.start(command, BROKER_SHUTDOWN_TIMEOUT=str(_SHUTDOWN_TIMEOUT), **settings)


async def _start_routing(
    env: Environment, command: tuple[str, ...] = COMMAND, **settings: str
) -> None:
    """Start a broker and slow its line down once it routes, so that it always holds messages."""
    env.amqp.heal()
    await _start(env, command, **settings)
    await env.routing()
    env.amqp.delay(_DELAY)


async def _stop(
    env: Environment,
    expected: int,
    number: signal.Signals = signal.SIGTERM,
    *,
    pid: int | None = None,
) -> None:
    env.fault()
    if pid is None:
        env.broker.send(number)
    else:
        os.kill(pid, number)
    code = await env.broker.ended(within=_SHUTDOWN_TIMEOUT + _OWN_END)
    assert code == expected, f"it stopped with exit code {code}, not {expected}"


async def _stop_twice(env: Environment) -> None:
    env.fault()
    env.broker.send(signal.SIGTERM)
    await trio.sleep(1)
    env.broker.send(signal.SIGTERM)
    code = await env.broker.ended(within=_AT_ONCE)
    assert code == _UNSETTLED, f"it left with exit code {code}, not {_UNSETTLED}"


def _take_server_away(env: Environment) -> None:
    env.websocket.refuse()
    env.websocket.reset()


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
