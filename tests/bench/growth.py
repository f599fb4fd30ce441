"""What the registry costs with many agents, measured in a process of its own.

python -m tests.bench.growth AGENTS... writes one JSON array of `Growth`.
"""

import gc
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from random import random
from timeit import Timer

import msgspec

from broker.core import codec
from broker.core.messages import ChatMessage, Rejected, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.routing.route import route
from tests.bench.results import Growth
from tests.lab.status_update import decode_status_update

_REPEATS = 5
_CAPABILITIES = ("poems", "sums", "translations")


def growth(agents: int) -> Growth:
    """Measure with so many agents, half of whom go offline and come back."""
    frame = status_frame(crowd(range(agents)))
    decode_seconds, update = _timed(lambda: _decoded(frame))
    registry = AgentRegistry(agents)
    sum(registry.applying(update))
    slices = _slices(registry, update)
    message = ChatMessage("TEXT", {}, next(iter(crowd([0]))))
    one = crowd([agents // 2])
    toggled = [
        _decoded(status_frame(one, is_online=online, is_full=False)) for online in (False, True)
    ]

    def apply_two_deltas() -> None:
        for delta in toggled:
            sum(registry.applying(delta))

    return Growth(
        agents=agents,
        route_microseconds=_microseconds(lambda: route(message, registry, random=random)),
        delta_microseconds=_microseconds(apply_two_deltas) / 2,
        full_update_milliseconds=sum(slices) * 1e3,
        longest_slice_milliseconds=max(slices) * 1e3,
        decode_milliseconds=decode_seconds * 1e3,
        bytes_per_agent=_bytes_per_agent(frame, agents),
        capable_bytes_per_agent=_bytes_per_agent(
            status_frame(crowd(range(agents)), capabilities=_CAPABILITIES), agents
        ),
    )


def _slices(registry: AgentRegistry, update: StatusUpdate) -> list[float]:
    """Apply a full update and return the seconds between its pauses."""
    times = [time.perf_counter()]
    times.extend(time.perf_counter() for _ in registry.applying(update))
    times.append(time.perf_counter())
    return [later - earlier for earlier, later in pairwise(times)]


def _bytes_per_agent(frame: str, agents: int) -> float:
    gc.collect()
    tracemalloc.start()
    registry = AgentRegistry(agents)
    sum(registry.applying(_decoded(frame)))
    # The update is gone by now; the strings that the registry keeps of it are counted.
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if registry.known_count != agents:
        raise RuntimeError("agents are missing")
    return kept / agents


def _decoded(frame: str) -> StatusUpdate:
    decoded = codec.decode_frame(frame)
    if isinstance(decoded, Rejected):
        raise TypeError(decoded.error)
    update = decode_status_update(decoded[1])
    if isinstance(update, Rejected):
        raise TypeError(update.error)
    return update


def status_frame(
    named: Mapping[str, str],
    *,
    is_online: bool = True,
    is_full: bool = True,
    capabilities: Sequence[str] = (),
) -> str:
    """Return a status update about agents, names by id, as the server sends it."""
    known = {"capabilities": capabilities} if capabilities else {}
    agents = [
        {
            "agent_id": agent_id,
            "agent_name": name,
            "is_online": is_online,
            "last_seen": "2026-01-01T00:00:00.000000Z",
            **known,
        }
        for agent_id, name in named.items()
    ]
    update = {"message_type": "AGENT_STATUS_UPDATE", "agents": agents, "is_full_update": is_full}
    return msgspec.json.encode(update).decode()


def crowd(numbers: Iterable[int]) -> dict[str, str]:
    """Return the names of numbered agents, by id."""
    return {f"agent-{number:07}": f"Agent {number}" for number in numbers}


def _timed[T](function: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def _microseconds(function: Callable[[], object]) -> float:
    timer = Timer(function)
    times, _ = timer.autorange()
    return min(timer.repeat(_REPEATS, times)) / times * 1e6


if __name__ == "__main__":
    measured = [growth(int(agents)) for agents in sys.argv[1:]]
    sys.stdout.buffer.write(msgspec.json.encode(measured))
