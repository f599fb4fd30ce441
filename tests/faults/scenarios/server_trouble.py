"""The central server breaks the rules, is slow, or away: messages go on being routed."""

from collections.abc import Sequence

import msgspec
import trio

from tests.faults import chat
from tests.faults.advertising import advertising
from tests.faults.bad_server import BadServer, open_bad_server
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import ROOM, scenario
from tests.faults.server_troubles import (
    BREACHES,
    CLOSINGS,
    HANG_UPS,
    HANGS,
    LONG_HANGS,
    MAX_BYTES,
    PATIENCE,
    SILENCE,
    Trouble,
)
from tests.faults.steady import steady
from tests.lab.eventually import eventually

_RATE = 200.0
_GAP = 5.0 * ROOM
"""Seconds without a routed message that are too many, whatever the server does."""
_COMING_BACK = 8.0 * ROOM
"""Seconds; a server that advertises itself is tried about once a second."""
_LEAVING = 12.0 * ROOM
"""Seconds until the broker has left a session that is over; the handshake has 10."""


@scenario(
    fault="the server closes the WebSocket with each close code",
    promise="the broker logs why, reconnects, and keeps routing",
)
async def server_closes(env: Environment) -> Allowed:
    closings = list(CLOSINGS) if env.is_long else env.random.sample(CLOSINGS, 4)
    return await _through(env, closings)


@scenario(
    fault="the server hangs up, sends garbage, refuses, breaks each rule of the WebSocket protocol",
    promise="only the session ends, within seconds, and only for a breach",
)
async def server_breaks_the_protocol(env: Environment) -> Allowed:
    breaches = BREACHES * 5 if env.is_long else env.random.sample(BREACHES, 7)
    troubles = [*breaches, *PATIENCE]
    env.random.shuffle(troubles)
    return await _through(env, troubles)


@scenario(
    fault="the server says nothing, reads nothing, answers nothing",
    promise="the session ends by its deadline; routing continues",
)
async def server_hangs(env: Environment) -> Allowed:
    if env.is_long:
        return await _through(env, [*HANGS, *HANG_UPS, *LONG_HANGS])
    return await _through(env, HANGS)


async def _through(env: Environment, troubles: Sequence[Trouble]) -> Allowed:
    async with open_bad_server(chat.AGENTS) as server:
        await env.broker.start(
            WEBSOCKET_URL=server.url,
            BROKER_WEBSOCKET_MAX_BYTES=str(MAX_BYTES),
            BROKER_WEBSOCKET_SILENCE=str(SILENCE),
        )
        async with env.load(_RATE), advertising(env):
            async with server.connection(_COMING_BACK) as peer:
                await peer.register()
                await env.routing()
            async with steady(env, gap=_GAP):
                for trouble in troubles:
                    await _inflict(env, trouble, server)
                async with server.connection(_COMING_BACK) as peer:
                    await peer.register()
                    await peer.hear("REQUEST_AGENT_STATUS")
        await env.broker.terminate()
    return Allowed(duplicates=0)


async def _inflict(env: Environment, trouble: Trouble, server: BadServer) -> None:
    losses = len(_losses(env))
    try:
        async with server.connection(_COMING_BACK) as peer:
            losses = len(_losses(env))
            await trouble.inflict(peer)
        env.fault()
        error = await _loss(env, losses)
    except (AssertionError, trio.BrokenResourceError) as failure:
        raise AssertionError(f"{trouble.name}: {failure}") from failure
    assert trouble.error in error, f"{trouble.name}: the broker says {error!r}"


async def _loss(env: Environment, number: int) -> str:
    losses = await eventually(
        lambda: _losses(env),
        "the broker says that it has lost the server",
        until=lambda losses: len(losses) > number,
        within=_LEAVING,
    )
    return losses[number]


def _losses(env: Environment) -> Sequence[str]:
    *lines, _ = env.broker.log.read_bytes().split(b"\n")  # the last one is empty, or not whole yet
    events = (b'"event": "server_lost"', b'"event": "server_unavailable"')
    return [_decode(line).error for line in lines if any(event in line for event in events)]


class _Loss(msgspec.Struct):
    error: str


_decode = msgspec.json.Decoder(_Loss).decode
