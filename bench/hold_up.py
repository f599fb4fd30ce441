"""How long chat messages and the answer to a PING wait while a large status update is applied."""

import time

import msgspec
import trio

from bench import latency
from bench.field import BROKER, Field
from bench.results import HoldUp
from bench.setting import AGENTS

_RATE = 200.0
_SECONDS = 4.0
_UPDATE_AFTER = 1.5
_PONG_TIMEOUT = 10.0


async def measure(field: Field, agents: int) -> HoldUp:
    """Route at a steady rate, and send a full update that names so many agents meanwhile.

    Args:
        field: Where the broker runs.
        agents: How many.
    """
    frame = _full_update(agents)
    pong = [0.0]
    async with latency.driven(field, BROKER) as drive:
        quiet = await drive("quiet", _RATE, _SECONDS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_update, field, frame, pong)
            busy = await drive("during a full update", _RATE, _SECONDS)
    return HoldUp(agents, quiet.worst, busy.worst, pong[0], [*quiet.problems, *busy.problems])


async def _update(field: Field, frame: str, pong: list[float]) -> None:
    await trio.sleep(_UPDATE_AFTER)
    server = field.server
    answered = sum(message.get("message_type") == "PONG" for message in server.received)
    server.send(frame)
    started = time.monotonic()
    server.send({"message_type": "PING"})
    with trio.fail_after(_PONG_TIMEOUT):
        await server.heard("PONG", answered + 1)
    pong[0] = (time.monotonic() - started) * 1e3


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
