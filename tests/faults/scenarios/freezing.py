"""Somebody freezes and goes on later: connections stay open, and nobody answers."""

import trio

from tests.faults.arena import Arena
from tests.faults.checker import Allowed
from tests.faults.failure import ScenarioFailedError
from tests.faults.scenario import Scenario

_RATE = 500.0
_RECOVERY = 15.0
_BRIEFLY = 5.0
"""Seconds that no session minds."""
_MISSING_RABBITMQ = 40.0
"""Seconds until the broker must have noticed: heartbeats every 10 s, confirms overdue after 30."""
_RABBITMQ_MISSING_BROKER = 40.0
"""Seconds after which RabbitMQ has given the broker up: it waits for two heartbeats in vain."""
_SILENCE = 45.0
_SHORT_SILENCE = 2.0
_NOTICING = 2.0
"""Seconds that the broker may take to notice that a silence is too long."""


async def rabbitmq_freeze(arena: Arena) -> Allowed:
    """Freeze RabbitMQ briefly; in the long form, then until the broker has given it up, too."""
    await arena.broker.start()
    async with arena.load(_RATE):
        await arena.routing()
        await trio.sleep(arena.random.random())
        await arena.node.pause()
        await trio.sleep(_BRIEFLY)
        await arena.node.resume()
        await _recovered(arena)
        _must_not_have(arena, "amqp_lost")
        if not arena.is_long:
            return Allowed(duplicates=0)
        await arena.node.pause()
        await arena.broker.logged("amqp_lost", within=_MISSING_RABBITMQ)
        await arena.node.resume()
        await _recovered(arena)
    return Allowed(duplicates=arena.prefetch)


async def server_freeze(arena: Arena) -> Allowed:
    """Freeze the server until the broker has given it up. Routing goes on."""
    silence = _SILENCE if arena.is_long else _SHORT_SILENCE
    await arena.broker.start(BROKER_WEBSOCKET_SILENCE=str(silence))
    async with arena.load(_RATE):
        await arena.routing()
        await arena.linked()
        arena.websocket.stall()
        await arena.broker.logged("server_lost", within=silence + _NOTICING)
        arena.fault()
        await arena.routing(within=_NOTICING)
        arena.websocket.heal()
        await arena.linked(within=_RECOVERY)
    return Allowed(duplicates=0)


async def broker_freeze(arena: Arena) -> Allowed:
    """Freeze the broker briefly; in the long form, then until RabbitMQ has given it up, too."""
    await arena.broker.start()
    async with arena.load(_RATE):
        await arena.routing()
        await arena.linked()
        await _freeze_broker(arena, _BRIEFLY)
        _must_not_have(arena, "amqp_lost")
        _must_not_have(arena, "server_lost")
        if not arena.is_long:
            return Allowed(duplicates=0)
        await _freeze_broker(arena, _RABBITMQ_MISSING_BROKER)
        await arena.broker.logged("amqp_lost", within=0)
    return Allowed(duplicates=arena.prefetch)


async def _freeze_broker(arena: Arena, seconds: float) -> None:
    arena.broker.pause()
    await trio.sleep(seconds)
    arena.broker.resume()
    await _recovered(arena)
    await arena.linked(within=_RECOVERY)


async def _recovered(arena: Arena) -> None:
    arena.fault()
    await arena.routing(within=_RECOVERY, since=trio.current_time())


def _must_not_have(arena: Arena, event: str) -> None:
    if arena.broker.has_logged(event):
        raise ScenarioFailedError(f"the broker has logged {event!r}")


SCENARIOS = (
    Scenario(
        rabbitmq_freeze,
        fault="SIGSTOP of RabbitMQ, briefly and (long) until it is given up",
        promise=f"the session survives {_BRIEFLY:g} s; routing {_RECOVERY:g} s after RabbitMQ is "
        "back; no duplicates, or a prefetch when it was given up",
        has_own_node=True,
    ),
    Scenario(
        server_freeze,
        fault="the server goes silent until it is given up",
        promise=f"routing goes on; the session is back {_RECOVERY:g} s after the server; no "
        "duplicates",
    ),
    Scenario(
        broker_freeze,
        fault="SIGSTOP of the broker, briefly and (long) until RabbitMQ gives it up",
        promise=f"the sessions survive {_BRIEFLY:g} s; routing {_RECOVERY:g} s after; no "
        "duplicates, or a prefetch when it was given up",
    ),
)
