"""How long chat messages and the answer to a PING wait while a large status update is applied."""

import time

import trio

from tests.bench import latency
from tests.bench.environment import BROKER, Environment
from tests.bench.growth import status_frame
from tests.bench.latency import Drive
from tests.bench.names import AGENTS
from tests.bench.results import HoldUp, Latency
from tests.lab.central_server import CentralServer

_RATE = 200.0
_SECONDS = 4.0
_FRAME_AFTER = 1.5
_PINGS_FOR = 1.0
_PING_PAUSE = 0.005
_PONG_TIMEOUT = 10.0


async def measure(env: Environment, agents: int) -> HoldUp:
    """Route at a steady rate, and send a full update that names so many agents meanwhile."""
    others = (f"other-{number:07}" for number in range(agents - len(AGENTS)))
    update = status_frame({name: name for name in (*AGENTS, *others)})
    async with latency.driven(env, BROKER) as drive:
        quiet = await drive("quiet", _RATE, _SECONDS)
        # The first large frame of a process is slower, whatever it says: it finds no memory yet.
        await _with_frame(env, drive, _ignored(update))
        busy, pongs = await _with_frame(env, drive, update)
        _, ignored_pongs = await _with_frame(env, drive, _ignored(update))
    return HoldUp(
        agents,
        quiet=quiet.worst,
        message=busy.worst,
        pong_behind=pongs[0],
        pong_behind_ignored=ignored_pongs[0],
        pong_after=max(pongs[1:]),
        problems=[*quiet.problems, *busy.problems],
    )


async def _with_frame(env: Environment, drive: Drive, frame: str) -> tuple[Latency, list[float]]:
    """Return how messages fared, and milliseconds from each PING to its PONG.

    The first PING stands right behind the frame, the others follow once it was answered, that is,
    while the broker decodes and applies what came.
    """
    pongs: list[float] = []

    async def send() -> None:
        await trio.sleep(_FRAME_AFTER)
        env.server.send(frame)
        stop_at = time.monotonic() + _PINGS_FOR
        while time.monotonic() < stop_at:
            pongs.append(await _pong(env.server))
            await trio.sleep(_PING_PAUSE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        point = await drive("during a large frame", _RATE, _SECONDS)
    return point, pongs


async def _pong(server: CentralServer) -> float:
    answered = sum(message.get("message_type") == "PONG" for message in server.received)
    started = time.monotonic()
    server.send({"message_type": "PING"})
    with trio.fail_after(_PONG_TIMEOUT):
        await server.heard("PONG", answered + 1)
    return (time.monotonic() - started) * 1e3


def _ignored(update: str) -> str:
    return update.replace("AGENT_STATUS_UPDATE", "IGNORED_BY_A_BROKER")
