"""The central server is away, half away, or comes and goes: messages go on being routed."""

from functools import partial
from operator import lt

import trio

from tests.faults.advertising import advertising
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import LINKING, ROOM, scenario
from tests.faults.steady import steady
from tests.lab.eventually import eventually

_RATE = 200.0
_GAP = 5.0 * ROOM
"""Seconds without a routed message that are too many, whatever the server does."""
_SILENCE = 2
_NOTICED = 8.0 * ROOM
"""Seconds until a broker has left a half-open session, and asks for a new one."""
_CUT_INTERVAL = 0.2
_HANDFUL = 8
_FLOOD = 1_000
"""Advertisements at once, about three times a second."""
_MORE_FILES = 4


@scenario(
    fault="a black hole between broker and server",
    promise=f"noticed within {_NOTICED:g} s; routing continues",
)
async def server_half_open(env: Environment) -> Allowed:
    rounds = 10 if env.is_long else 1
    async with (
        env.broker_under_load(_RATE, BROKER_WEBSOCKET_SILENCE=str(_SILENCE)),
        steady(env, gap=_GAP),
        advertising(env),
    ):
        for _ in range(rounds):
            connections = env.websocket.connections
            env.websocket.stall()
            env.fault()
            await eventually(
                lambda: env.websocket.connections,
                "a new connection in place of the half-open one",
                until=partial(lt, connections),
                within=_NOTICED,
            )
            env.websocket.heal()
            await env.linked(within=LINKING)
    return Allowed(duplicates=0)


@scenario(
    fault="the server sends thousands of advertisements and refuses the broker",
    promise="about one attempt per second; routing continues",
)
async def advertisement_flood(env: Environment) -> Allowed:
    seconds = 60.0 if env.is_long else 4.0
    async with env.broker_under_load(_RATE, BROKER_LOG_LEVEL="warning"), steady(env, gap=_GAP):
        env.server.accepting = False
        env.server.drop_sessions()
        env.fault()
        before = env.websocket.connections
        async with advertising(env, _FLOOD):
            await trio.sleep(seconds)
            tries = env.websocket.connections - before
            env.server.accepting = True
            await env.linked(within=LINKING)
    # An advertisement brings no more than one try a second. Without any there would be a handful in
    # a minute, the first of them sooner than after a second.
    assert seconds / 2 <= tries <= seconds + _HANDFUL, (
        f"the broker tried {tries} times in {seconds:g} s"
    )
    return Allowed(duplicates=0)


@scenario(
    fault="the connection to the server is cut five times a second",
    promise="routing continues; nothing is left open",
)
async def reconnect_storm(env: Environment) -> Allowed:
    cuts = 300 if env.is_long else 15
    async with env.broker_under_load(_RATE):
        before = env.usage()
        async with steady(env, gap=_GAP), advertising(env):
            for _ in range(cuts):
                env.random.choice((env.websocket.cut, env.websocket.reset))()
                env.fault()
                await trio.sleep(_CUT_INTERVAL)
            await env.linked(within=LINKING)
        after = env.usage()
    kept = f"the broker kept what it should have closed: {before} {after}"
    assert after.open_files <= before.open_files + _MORE_FILES, kept
    assert after.threads <= before.threads + 1, kept
    return Allowed(duplicates=0)
