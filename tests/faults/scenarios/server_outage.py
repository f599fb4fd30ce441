"""The central server is away, half away, or comes and goes: messages go on being routed."""

import trio

from tests.faults.advertising import advertising
from tests.faults.arena import Arena
from tests.faults.checker import Allowed
from tests.faults.failure import ScenarioFailedError
from tests.faults.scenario import Scenario
from tests.faults.steady import steady

_RATE = 200.0
_GAP = 5.0
"""Seconds without a routed message that are too many, whatever the server does."""
_SILENCE = 2
_NOTICED = 8.0
"""Seconds until a broker has left a half-open session, and asks for a new one."""
_LINKING = 20.0
_CUT_INTERVAL = 0.2
_HANDFUL = 8
_FLOOD = 1_000
"""Advertisements at once, about three times a second."""
_MORE_FILES = 4


async def server_half_open(arena: Arena) -> Allowed:
    """Let nothing pass to the server, or from it, or both, and close nothing."""
    rounds = 10 if arena.is_long else 1
    await arena.broker.start(BROKER_WEBSOCKET_SILENCE=str(_SILENCE))
    async with arena.load(_RATE):
        await arena.routing()
        await arena.linked()
        async with steady(arena, gap=_GAP), advertising(arena):
            for _ in range(rounds):
                connections = arena.websocket.connections
                arena.websocket.stall()
                arena.fault()
                await _more_connections(arena, connections)
                arena.websocket.heal()
                await arena.linked(within=_LINKING)
    return Allowed(duplicates=0)


async def advertisement_flood(arena: Arena) -> Allowed:
    """Let the server advertise itself thousands of times while it turns the broker away."""
    seconds = 60.0 if arena.is_long else 4.0
    await arena.broker.start(BROKER_LOG_LEVEL="warning")
    async with arena.load(_RATE):
        await arena.routing()
        await arena.linked()
        async with steady(arena, gap=_GAP):
            arena.server.accepting = False
            arena.server.drop_sessions()
            arena.fault()
            before = arena.websocket.connections
            async with advertising(arena, _FLOOD):
                await trio.sleep(seconds)
                tries = arena.websocket.connections - before
                arena.server.accepting = True
                await arena.linked(within=_LINKING)
    # An advertisement brings no more than one try a second. Without any there would be a handful in
    # a minute, the first of them sooner than after a second.
    if not seconds / 2 <= tries <= seconds + _HANDFUL:
        raise ScenarioFailedError(f"the broker tried {tries} times in {seconds:g} s")
    return Allowed(duplicates=0)


async def reconnect_storm(arena: Arena) -> Allowed:
    """Cut or reset the connection to the server again and again, however young it is."""
    cuts = 300 if arena.is_long else 15
    await arena.broker.start()
    async with arena.load(_RATE):
        await arena.routing()
        await arena.linked()
        before = arena.usage()
        async with steady(arena, gap=_GAP), advertising(arena):
            for _ in range(cuts):
                arena.random.choice((arena.websocket.cut, arena.websocket.reset))()
                arena.fault()
                await trio.sleep(_CUT_INTERVAL)
            await arena.linked(within=_LINKING)
        after = arena.usage()
    if after.open_files > before.open_files + _MORE_FILES or after.threads > before.threads + 1:
        raise ScenarioFailedError(f"the broker kept what it should have closed: {before} {after}")
    return Allowed(duplicates=0)


async def _more_connections(arena: Arena, connections: int) -> None:
    with trio.move_on_after(_NOTICED):
        while arena.websocket.connections <= connections:
            await trio.sleep(_CUT_INTERVAL)
        return
    raise ScenarioFailedError(f"the broker kept a half-open session for {_NOTICED:g} s")


SCENARIOS = (
    Scenario(
        server_half_open,
        fault="a black hole between broker and server",
        promise=f"noticed in {_NOTICED:g} s; messages are routed meanwhile",
    ),
    Scenario(
        advertisement_flood,
        fault="the server advertises itself by the thousand and turns the broker away",
        promise="about one try a second; messages are routed meanwhile",
    ),
    Scenario(
        reconnect_storm,
        fault="the connection to the server is cut five times a second",
        promise="messages are routed meanwhile; nothing is left open",
    ),
)
