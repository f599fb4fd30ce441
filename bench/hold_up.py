"""How long chat messages and the answer to a PING wait while a large status update is applied."""

import time

import msgspec
import trio

from bench import latency
from bench.field import BROKER, Field
from bench.latency import Drive
from bench.results import HoldUp, Latency
from bench.setting import AGENTS

_RATE = 200.0
_SECONDS = 4.0
_FRAME_AFTER = 1.5
_PONG_TIMEOUT = 10.0


async def measure(field: Field, agents: int) -> HoldUp:
    """Route at a steady rate, and send a full update that names so many agents meanwhile.

    Args:
        field: Where the broker runs.
        agents: How many.
    """
    update = _full_update(agents)
    async with latency.driven(field, BROKER) as drive:
        quiet = await drive("quiet", _RATE, _SECONDS)
        # How long the bytes take by themselves, under the same load.
        ignored, transfer = await _with_frame(
            field, drive, update.replace("AGENT_STATUS_UPDATE", "IGNORED_BY_A_BROKER")
        )
        busy, pong = await _with_frame(field, drive, update)
    problems = [*quiet.problems, *ignored.problems, *busy.problems]
    return HoldUp(agents, quiet.worst, busy.worst, pong, transfer, problems)


async def _with_frame(field: Field, drive: Drive, frame: str) -> tuple[Latency, float]:
    """Return how messages fared while a frame came, and milliseconds to the PONG behind it."""
    pong = 0.0

    async def send() -> None:
        nonlocal pong
        await trio.sleep(_FRAME_AFTER)
        server = field.server
        answered = sum(message.get("message_type") == "PONG" for message in server.received)
        server.send(frame)
        started = time.monotonic()
        server.send({"message_type": "PING"})
        with trio.fail_after(_PONG_TIMEOUT):
            await server.heard("PONG", answered + 1)
        pong = (time.monotonic() - started) * 1e3

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        point = await drive("during a large frame", _RATE, _SECONDS)
    return point, pong


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
