"""The network fails, in each way, between the broker and RabbitMQ and between it and the server."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import LINKING, RECOVERY, ROOM, scenario
from tests.lab.eventually import eventually
from tests.lab.process_meter import Usage
from tests.lab.proxy import Proxy, Toward

_RATE = 400.0
_NOTICING = 5.0 * ROOM
"""Seconds until the broker must have seen an end of file or a reset."""
_BRIEFLY = 3.0
"""Seconds that no session minds."""
_MISSING_SERVER = 50.0
"""Seconds until the broker must have noticed: a silence counts as a loss after 45."""
_MISSING_RABBITMQ = 40.0
"""Likewise: it waits for a sign of life for 20 s."""
_DELAY, _JITTER = 0.2, 0.1
_DELAYED_RATE = 100.0
"""What a prefetch allows: a message travels four times until its place is free again."""
_BYTE_PAUSE = 0.001
_TRICKLING_TO_LIFE = 60.0 * ROOM
"""Seconds until a broker routes that receives and sends a byte in a millisecond."""
_BETWEEN_CUTS = 2.0
_MORE = Usage(resident_bytes=8 << 20, open_files=1, threads=1)
"""What the broker may hold more than before; a connection that is left behind is more."""


_BACK = f"routing within {RECOVERY:g} s"
_NO_LEAK = "no memory, files or threads left behind"


@scenario(
    fault="connections cut, and new ones refused",
    promise=f"{_BACK}; a prefetch of duplicates; {_NO_LEAK}",
)
async def network_refusal(env: Environment) -> Allowed:
    outage = 20.0 if env.is_long else 1.0
    async with _unharmed(env):
        for proxy in (env.websocket, env.amqp):
            proxy.refuse()
            proxy.cut()
            await trio.sleep(outage)
            await _heal(env, proxy)
    return Allowed(duplicates=env.prefetch)


@scenario(
    fault="connections reset in mid-frame, each way",
    promise=f"{_BACK} each; a prefetch of duplicates for each reset; {_NO_LEAK}",
)
async def network_reset(env: Environment) -> Allowed:
    rounds = 10 if env.is_long else 1
    async with _unharmed(env):
        for _ in range(rounds):
            for toward in (Toward.CLIENT, Toward.SERVER):
                env.amqp.reset_after(env.random.randint(1, 5_000), toward=toward)
                await _noticed(lambda: not env.amqp.open_connections, "closed what was reset")
                await _heal(env, env.amqp)
            update = env.server.full_update()
            env.websocket.reset_after(env.random.randint(1, 1_000), toward=Toward.CLIENT)
            env.server.send(update)
            await _noticed(lambda: not env.websocket.open_connections, "closed what was reset")
            await _heal(env, env.websocket)
    return Allowed(duplicates=2 * rounds * env.prefetch)


@scenario(
    fault="a black hole on both connections, briefly and (long form) until they are dropped",
    promise=f"the sessions survive {_BRIEFLY:g} s; {_BACK}; no duplicates, or a prefetch when "
    f"RabbitMQ was given up; {_NO_LEAK}",
)
async def network_black_hole(env: Environment) -> Allowed:
    async with _unharmed(env):
        connections = _connections(env)
        env.websocket.stall()
        env.amqp.stall()
        await trio.sleep(_BRIEFLY)
        await _heal(env, env.websocket, env.amqp)
        _must_not_have_reconnected(env, connections)
        if not env.is_long:
            return Allowed(duplicates=0)
        env.websocket.stall()
        await env.broker.logged("server_lost", within=_MISSING_SERVER)
        await _heal(env, env.websocket)
        env.amqp.stall()
        await env.broker.logged("amqp_lost", within=_MISSING_RABBITMQ)
        await trio.sleep(20)  # in which it tries to connect, in vain
        await _heal(env, env.amqp)
    return Allowed(duplicates=env.prefetch)


@scenario(
    fault=f"{_DELAY:g} s of delay each way, and up to {_JITTER:g} s of jitter",
    promise=f"the sessions survive and messages flow; no duplicates; {_NO_LEAK}",
)
async def network_delay(env: Environment) -> Allowed:
    length = 60.0 if env.is_long else 3.0
    async with _unharmed(env, _DELAYED_RATE):
        connections = _connections(env)
        env.websocket.delay(_DELAY, jitter=_JITTER)
        env.amqp.delay(_DELAY, jitter=_JITTER)
        await env.routing()
        before = await env.routed()
        await trio.sleep(length)
        routed = await env.routed() - before
        assert routed >= length * _DELAYED_RATE / 2, (
            f"only {routed} messages were routed in {length:g} s"
        )
        await _heal(env, env.websocket, env.amqp)
        _must_not_have_reconnected(env, connections)
    return Allowed(duplicates=0)


@scenario(
    fault="one byte per millisecond, while the broker routes and while it connects",
    promise=f"the sessions survive, and new ones can be opened; {_BACK}; {_NO_LEAK}",
)
async def network_trickle(env: Environment) -> Allowed:
    length = 60.0 if env.is_long else 1.0
    async with _unharmed(env):
        connections = _connections(env)
        env.websocket.trickle(1, _BYTE_PAUSE)
        env.amqp.trickle(1, _BYTE_PAUSE)
        await trio.sleep(length)
        _must_not_have_reconnected(env, connections)
        env.websocket.cut()
        env.amqp.cut()
        await env.routing(within=_TRICKLING_TO_LIFE)
        await env.linked(within=_TRICKLING_TO_LIFE)
        await _heal(env, env.websocket, env.amqp)
    return Allowed(duplicates=env.prefetch)


@scenario(
    fault=f"connections cut every {_BETWEEN_CUTS:g} s",
    promise=f"{_BACK}; a prefetch of duplicates for each cut; {_NO_LEAK}",
)
async def network_cuts(env: Environment) -> Allowed:
    cuts = 30 if env.is_long else 5
    lines = (env.websocket,), (env.amqp,), (env.websocket, env.amqp)
    async with _unharmed(env):
        for _ in range(cuts):
            await trio.sleep(_BETWEEN_CUTS)
            for proxy in env.random.choice(lines):
                proxy.cut()
            env.fault()
        # Not after each: the broker backs off, and misses some of the cuts.
        await env.routing(within=RECOVERY, since=trio.current_time())
    return Allowed(duplicates=cuts * env.prefetch)


@scenario(
    fault="connections half-closed, in each direction",
    promise=f"{_BACK} each; a prefetch of duplicates for each of RabbitMQ's; {_NO_LEAK}",
)
async def network_half_open(env: Environment) -> Allowed:
    rounds = 5 if env.is_long else 1
    async with _unharmed(env):
        for _ in range(rounds):
            for toward in (Toward.CLIENT, Toward.SERVER):
                for proxy, loss in (env.websocket, "server_lost"), (env.amqp, "amqp_lost"):
                    losses = env.broker.times_logged(loss)
                    proxy.half_close(toward)
                    await env.broker.logged(loss, times=losses + 1, within=_NOTICING)
                    await _heal(env, proxy)
    return Allowed(duplicates=2 * rounds * env.prefetch)


@asynccontextmanager
async def _unharmed(env: Environment, rate: float = _RATE) -> AsyncIterator[None]:
    """Start a broker under load; at the end it must route, and hold no more than before."""
    async with env.broker_under_load(rate):
        before = env.usage()
        yield
        await env.routing(within=RECOVERY)
        await env.linked(within=LINKING)
        await _noticed(lambda: _is_about(before, env.usage()), f"come down to about {before}")


def _is_about(before: Usage, now: Usage) -> bool:
    return all(a <= b + more for a, b, more in zip(now, before, _MORE, strict=True))


async def _heal(env: Environment, *proxies: Proxy) -> None:
    env.fault()
    for proxy in proxies:
        proxy.heal()
    await env.routing(within=RECOVERY, since=trio.current_time())
    await env.linked(within=LINKING)


async def _noticed(condition: Callable[[], bool], what: str) -> None:
    await eventually(condition, f"the broker has {what}", within=_NOTICING)


def _connections(env: Environment) -> int:
    return env.amqp.connections + env.websocket.connections


def _must_not_have_reconnected(env: Environment, connections: int) -> None:
    more = _connections(env) - connections
    assert not more, f"the broker opened {more} new connections"
