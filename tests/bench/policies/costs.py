"""What choosing costs the broker, measured in a process of its own.

python -m tests.bench.policies.costs AGENTS... writes one JSON array of `Cost`.
"""

import gc
import sys
import time
import tracemalloc
from functools import partial
from itertools import count, pairwise
from random import random

import msgspec

from broker.core.messages import AgentStatus, ChatMessage, StatusUpdate
from broker.core.registry import AgentRegistry
from broker.core.routing.route import route
from broker.router.choosing import Choosing, RoutingOptions
from broker.telemetry.tally import MessageTally
from tests.bench.growth import crowd
from tests.bench.policies.results import Cost

POLICIES = ("random", "least_outstanding", "consistent_hash")
_CAPABILITIES = ("poems", "sums", "translations")
_MOST_WEIGHED = 100_000
"""Agents; with more, tracing each of their allocations takes minutes."""
_REPEATS = 200
"""Many short ones, as others on the machine may take some of its time from most of them."""
_DECISIONS = 1_000
_TOGETHER = 50
"""Messages that arrive together."""


def cost(policy: str, agents: int) -> Cost:
    """Measure a policy among so many agents, half of whom have three capabilities."""
    choosing = Choosing(RoutingOptions(policy=policy), MessageTally(), time.monotonic)
    registry = AgentRegistry(agents, watchers=choosing.watchers)
    statuses = {
        agent_id: AgentStatus(
            agent_id, name, is_online=True, capabilities=_CAPABILITIES if number % 2 else None
        )
        for number, (agent_id, name) in enumerate(crowd(range(agents)).items())
    }
    times = [time.perf_counter()]
    update = StatusUpdate(statuses, is_full=True)
    times.extend(time.perf_counter() for _ in registry.applying(update))
    times.append(time.perf_counter())
    slices = [later - earlier for earlier, later in pairwise(times)]
    decide = partial(_decision_microseconds, registry, choosing)
    return Cost(
        policy=policy,
        agents=agents,
        microseconds=decide(()),
        capable_microseconds=decide(_CAPABILITIES[1:2]),
        full_update_milliseconds=sum(slices) * 1e3,
        longest_slice_milliseconds=max(slices) * 1e3,
        bytes_per_agent=_bytes_per_agent(policy, registry) if agents <= _MOST_WEIGHED else None,
    )


def _decision_microseconds(
    registry: AgentRegistry, choosing: Choosing, required: tuple[str, ...]
) -> float:
    numbers = count()
    choose = choosing.routing.choose
    clock = time.perf_counter

    def seconds() -> float:
        # Messages that arrive together are decoded, and then decided on: what they are made of is
        # in the processor's caches by then, and the agents mostly are not.
        messages = [
            ChatMessage(
                "TEXT",
                {"conversation_id": msgspec.Raw(b'"conversation-%d"' % next(numbers))},
                "client",
                required_capabilities=required,
            )
            for _ in range(_TOGETHER)
        ]
        began = clock()
        for message in messages:
            route(message, registry, random=random, choose=choose)
        return clock() - began

    batches = _DECISIONS // _TOGETHER
    best = min(sum(seconds() for _ in range(batches)) for _ in range(_REPEATS))
    return best / _DECISIONS * 1e6


def _bytes_per_agent(policy: str, registry: AgentRegistry) -> float:
    """Return what a policy keeps of agents who only came online, beside the registry."""
    gc.collect()
    tracemalloc.start()
    choosing = Choosing(RoutingOptions(policy=policy), MessageTally(), time.monotonic)
    for watcher in choosing.watchers:
        for agent in registry.online:
            watcher.arrived(agent)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return kept / registry.online_count


if __name__ == "__main__":
    measured = [cost(policy, int(agents)) for agents in sys.argv[1:] for policy in POLICIES]
    sys.stdout.buffer.write(msgspec.json.encode(measured))
