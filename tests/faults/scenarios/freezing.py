"""Somebody freezes and goes on later: connections stay open, and nobody answers."""

import trio

from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import RECOVERY, ROOM, scenario

_RATE = 500.0
_BRIEFLY = 5.0
"""Seconds that no session minds."""
_MISSING_RABBITMQ = 40.0
"""Seconds until the broker must have noticed: it waits for a sign of life for 20."""
_RABBITMQ_MISSING_BROKER = 40.0
"""Seconds after which RabbitMQ has given the broker up: it waits for two heartbeats in vain."""
_SILENCE = 45.0
_SHORT_SILENCE = 2.0
_NOTICING = 2.0 * ROOM
"""Seconds that the broker may take to notice that a silence is too long."""


@scenario(
    fault="SIGSTOP of RabbitMQ, briefly and (long form) until the broker drops the session",
    promise=f"the session survives {_BRIEFLY:g} s; routing within {RECOVERY:g} s of RabbitMQ's "
    "return; no duplicates, or a prefetch if the session was dropped",
)
async def rabbitmq_freeze(env: Environment) -> Allowed:
    async with env.broker_under_load(_RATE):
        await trio.sleep(env.random.random())
        await env.node.pause()
        await trio.sleep(_BRIEFLY)
        await env.node.resume()
        await _recovered(env)
        env.broker.must_not_have_logged("amqp_lost")
        if not env.is_long:
            return Allowed(duplicates=0)
        await env.node.pause()
        await env.broker.logged("amqp_lost", within=_MISSING_RABBITMQ)
        await env.node.resume()
        await _recovered(env)
    return Allowed(duplicates=env.prefetch)


@scenario(
    fault="the server goes silent until the broker drops the session",
    promise=f"routing continues; session back {RECOVERY:g} s after the server; no duplicates",
)
async def server_freeze(env: Environment) -> Allowed:
    silence = _SILENCE if env.is_long else _SHORT_SILENCE
    async with env.broker_under_load(_RATE, BROKER_WEBSOCKET_SILENCE=str(silence)):
        env.websocket.stall()
        await env.broker.logged("server_lost", within=silence + _NOTICING)
        env.fault()
        await env.routing(within=_NOTICING)
        env.websocket.heal()
        await env.linked(within=RECOVERY)
    return Allowed(duplicates=0)


@scenario(
    fault="SIGSTOP of the broker, briefly and (long form) until RabbitMQ drops its connections",
    promise=f"the sessions survive {_BRIEFLY:g} s; routing within {RECOVERY:g} s; no "
    "duplicates, or a prefetch if they were dropped",
)
async def broker_freeze(env: Environment) -> Allowed:
    async with env.broker_under_load(_RATE):
        await _freeze_broker(env, _BRIEFLY)
        env.broker.must_not_have_logged("amqp_lost", "server_lost")
        if not env.is_long:
            return Allowed(duplicates=0)
        await _freeze_broker(env, _RABBITMQ_MISSING_BROKER)
        await env.broker.logged("amqp_lost", within=0)
    return Allowed(duplicates=env.prefetch)


async def _freeze_broker(env: Environment, seconds: float) -> None:
    env.broker.pause()
    await trio.sleep(seconds)
    env.broker.resume()
    await _recovered(env)
    await env.linked(within=RECOVERY)


async def _recovered(env: Environment) -> None:
    env.fault()
    await env.routing(within=RECOVERY, since=trio.current_time())
