"""A RabbitMQ cluster loses nodes, and the brokers beside each other are restarted."""

import trio

from tests.faults.checker import Allowed
from tests.faults.cluster_environment import BROKERS, GAP, ClusterEnvironment
from tests.faults.readiness import DETECTION, RECOVERY
from tests.faults.scenario import scenario

_LIFE = (1.0, 3.0)
_CUT = 2 * DETECTION.total_seconds()
"""Seconds that a node stays cut off: a broker that has not noticed by then never would."""


_PROMISE = (
    f"routing never stops for {GAP:g} s; /readyz is right, and all brokers are ready again within "
    f"{RECOVERY.total_seconds():g} s; {BROKERS} prefetches of duplicates per node"
)


@scenario(
    fault="kill -9 of the input queue's leader, one of three nodes",
    promise=_PROMISE,
    needs_cluster=True,
)
async def cluster_leader_killed(env: ClusterEnvironment) -> Allowed:
    kills = 8 if env.is_long else 1
    async with env.routing_on() as watch:
        for _ in range(kills):
            await trio.sleep(env.random.uniform(*_LIFE))
            leader = await env.leader()
            await env.kill(leader)
            await env.routing(within=GAP, since=trio.current_time())
            await env.start(leader)
            await watch.all_ready()
    return Allowed(duplicates=kills * env.duplicates_of_a_fault)


@scenario(
    fault="one of three nodes is partitioned off: the leader, or a follower",
    promise=_PROMISE,
    needs_cluster=True,
)
async def cluster_partition(env: ClusterEnvironment) -> Allowed:
    cuts = 6 if env.is_long else 1
    first = env.random.randrange(2)
    async with env.routing_on() as watch:
        for number in range(first, first + cuts):
            await trio.sleep(env.random.uniform(*_LIFE))
            leader = await env.leader()
            others = [node for node in env.cluster.nodes if node is not leader]
            node = leader if number % 2 == 0 else env.random.choice(others)
            await env.cut_off(node)
            cut_at = trio.current_time()
            await env.routing(within=GAP, since=cut_at)
            await env.closed(node)
            await trio.sleep_until(cut_at + _CUT)
            await env.reunite(node)
            await watch.all_ready()
    return Allowed(duplicates=cuts * env.duplicates_of_a_fault)


@scenario(
    fault="rolling restart of all three brokers, then of all three nodes",
    promise=f"{_PROMISE}, none for the brokers",
    needs_cluster=True,
)
async def cluster_rolling_restart(env: ClusterEnvironment) -> Allowed:
    rounds = 3 if env.is_long else 1
    async with env.routing_on() as watch:
        for broker in env.brokers * rounds:
            env.fault()
            await broker.stop()
            await broker.start()
            await watch.all_ready()
            await env.routing()
    verdict = await env.settled(Allowed(duplicates=0))
    assert not verdict.problems, f"after the brokers' restarts: {'; '.join(verdict.problems)}"
    async with env.routing_on() as watch:
        for node in list(env.cluster.nodes) * rounds:
            await env.stop(node)
            await env.routing(within=GAP, since=trio.current_time())
            await env.start(node)
            await watch.all_ready()
    return Allowed(duplicates=rounds * len(env.cluster.nodes) * env.duplicates_of_a_fault)
