"""How long chat messages and the answer to a PING wait while a large status update is applied."""

import time

import msgspec
import trio

from tests.bench import latency
from tests.bench.environment import BROKER, Environment
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
    """Route at a steady rate, and send a full update that names so many agents meanwhile.

    Args:
        env: Where the broker runs.
        agents: How many.
    """
    update = _full_update(agents)
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


def _full_update(agents: int) -> str:
    names = [*AGENTS, *(f"other-{number:07}" for number in range(agents - len(AGENTS)))]
    return msgspec.json.encode(
        {
            "message_type": "AGENT_STATUS_UPDATE",
            "is_full_update": True,
            "agents": [
                {
                    "agent_id": name,
                    "agent_name": name,
                    "is_online": True,
                    "last_seen": "2026-01-01T00:00:00.000000Z",
                }
                for name in names
            ],
        }
    ).decode()
