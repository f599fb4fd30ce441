"""A RabbitMQ cluster loses nodes, and the brokers beside each other are restarted."""

import trio

from tests.faults.checker import Allowed
from tests.faults.cluster_arena import BROKERS, GAP, ClusterArena, stopped
from tests.faults.failure import ScenarioFailedError
from tests.faults.readiness import DETECTION, RECOVERY
from tests.faults.scenario import ClusterScenario

_LIFE = (1.0, 3.0)
_CUT = 2 * DETECTION.total_seconds()
"""Seconds that a node stays cut off: a broker that has not noticed by then never would."""


async def cluster_leader_killed(arena: ClusterArena) -> Allowed:
    """Kill the node that leads the input queue, start it again, and kill the next."""
    kills = 8 if arena.is_long else 2
    async with arena.routing_on() as watch:
        for _ in range(kills):
            await trio.sleep(arena.random.uniform(*_LIFE))
            leader = await arena.leader()
            await arena.kill(leader)
            await arena.routing(within=GAP, since=trio.current_time())
            await arena.start(leader)
            await watch.all_ready()
    return Allowed(duplicates=kills * arena.duplicates_of_a_fault)


async def cluster_partition(arena: ClusterArena) -> Allowed:
    """Cut the leader of the input queue off, then a node that does not lead."""
    cuts = 6 if arena.is_long else 2
    async with arena.routing_on() as watch:
        for number in range(cuts):
            await trio.sleep(arena.random.uniform(*_LIFE))
            leader = await arena.leader()
            others = [node for node in arena.cluster.nodes if node is not leader]
            node = leader if number % 2 == 0 else arena.random.choice(others)
            await arena.cut_off(node)
            cut_at = trio.current_time()
            await arena.routing(within=GAP, since=cut_at)
            await arena.closed(node)
            await trio.sleep_until(cut_at + _CUT)
            await arena.reunite(node)
            await watch.all_ready()
    return Allowed(duplicates=cuts * arena.duplicates_of_a_fault)


async def cluster_rolling_restart(arena: ClusterArena) -> Allowed:
    """Restart all brokers, then all nodes, one after the other."""
    rounds = 3 if arena.is_long else 1
    async with arena.routing_on() as watch:
        for broker in list(arena.brokers.values()) * rounds:
            arena.fault()
            await stopped(broker)
            await broker.start()
            await watch.all_ready()
            await arena.routing()
    verdict = await arena.settled(Allowed(duplicates=0))
    if verdict.problems:
        raise ScenarioFailedError(f"after the brokers' restarts: {'; '.join(verdict.problems)}")
    async with arena.routing_on() as watch:
        for node in list(arena.cluster.nodes) * rounds:
            await arena.stop(node)
            await arena.routing(within=GAP, since=trio.current_time())
            await arena.start(node)
            await watch.all_ready()
    return Allowed(duplicates=rounds * len(arena.cluster.nodes) * arena.duplicates_of_a_fault)


_PROMISE = (
    f"no {GAP:g} s without routing; brokers say rightly whether they are ready, and are so after "
    f"{RECOVERY.total_seconds():g} s; {BROKERS} prefetches of duplicates a node"
)
SCENARIOS = (
    ClusterScenario(
        cluster_leader_killed,
        fault="kill -9 of the node that leads the input queue, of three",
        promise=_PROMISE,
    ),
    ClusterScenario(
        cluster_partition,
        fault="a node is cut off from the two others: the leader, or another one",
        promise=_PROMISE,
    ),
    ClusterScenario(
        cluster_rolling_restart,
        fault="all three brokers restarted, then all three nodes, one after the other",
        promise=f"{_PROMISE}, none for the brokers",
    ),
)
