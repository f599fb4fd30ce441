"""A RabbitMQ cluster loses nodes, and the brokers beside each other are restarted."""

import trio

from tests.faults.checker import Allowed
from tests.faults.cluster_environment import BROKERS, GAP, SILENT_GAP, ClusterEnvironment
from tests.faults.readiness import DETECTION, RECOVERY, Watch
from tests.faults.scenario import scenario
from tests.lab.rabbitmq_node import RabbitmqNode

_LIFE = (1.0, 3.0)
_CUT = 2 * DETECTION.total_seconds()
"""Seconds that a node stays cut off: a broker that has not noticed by then never would."""
_SILENCE = 1.5 * SILENT_GAP
"""The same for one that is cut off without a sound."""

_PROMISE = (
    f"routing never stops for {GAP:g} s; /readyz is right, and all brokers are ready again within "
    f"{RECOVERY.total_seconds():g} s; {BROKERS} prefetches of duplicates per node"
)


@scenario(
    fault="kill -9 of the input queue's leader, one of three nodes",
    promise=_PROMISE,
    needs="cluster",
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
    needs="cluster",
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
    fault="the network swallows everything from and to one of three nodes: first that of the only "
    "broker, then, with all brokers, the leader",
    promise=f"routing never stops for {SILENT_GAP:g} s; {BROKERS} prefetches of duplicates per cut",
    needs="hosts",
)
async def cluster_silent_cut(env: ClusterEnvironment) -> Allowed:
    rounds = 3 if env.is_long else 1
    only, *others = env.brokers
    for number in range(rounds):
        if number == 0:
            await only.start()
        else:
            for broker in others:
                await broker.stop()
        node = await env.node_of(only)
        async with env.routing_on([only], silent=node) as watch:
            await _cut_silently(env, node, watch)
        leader = await env.leader()
        async with env.routing_on(silent=leader) as watch:
            await _cut_silently(env, leader, watch)
    return Allowed(duplicates=2 * rounds * env.duplicates_of_a_fault)


async def _cut_silently(env: ClusterEnvironment, node: RabbitmqNode, watch: Watch) -> None:
    await trio.sleep(env.random.uniform(*_LIFE))
    await env.cut_off(node)
    cut_at = trio.current_time()
    await env.routing(within=SILENT_GAP, since=cut_at)
    await trio.sleep_until(cut_at + _SILENCE)
    await watch.all_ready()
    await env.reunite(node)
    await watch.all_ready()


@scenario(
    fault="rolling restart of all three brokers, then of all three nodes",
    promise=f"{_PROMISE}, none for the brokers",
    needs="cluster",
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
