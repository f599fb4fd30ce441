"""A cluster starts in half a minute, so the tests share one, and each leaves it whole."""

import operator
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from broker.sandbox.rabbitmq_errors import RabbitmqNodeError
from tests.lab.amqp_client import AmqpClient
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_cluster import RabbitmqCluster, running_nodes
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.processes import listening_addresses, needs_proc, processes_of, wait_until_gone

pytestmark = pytest.mark.exhaustive

PATIENCE = 240.0
"""Nothing here takes this long; it turns a hang into a failure."""
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
OPENER = """
import trio
from tests.lab.rabbitmq_cluster import open_rabbitmq_cluster
async def main():
    async with open_rabbitmq_cluster() as cluster:
        print(*(node.directory for node in cluster.nodes), flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


@needs_proc
def test_listens_on_loopback_only(cluster: RabbitmqCluster) -> None:
    processes = [process for node in cluster.nodes for process in processes_of(node.directory)]

    addresses = listening_addresses(processes)

    assert {node.port for node in cluster.nodes} < addresses.keys()
    assert len(addresses) == 7  # AMQP and distribution of each, and one epmd
    assert set(addresses.values()) <= LOOPBACK


async def known_leader(cluster: RabbitmqCluster, queue: str) -> RabbitmqNode | None:
    """Return the leader of a queue, None while it is being elected."""
    try:
        return await cluster.leader(queue)
    except RabbitmqNodeError:
        return None


async def test_a_queue_outlives_its_leader_which_comes_back(cluster: RabbitmqCluster) -> None:
    queue = uuid4().hex
    client = AmqpClient(*cluster.urls)
    with trio.fail_after(PATIENCE):
        await client.declare(queue, **{"x-queue-type": "quorum"})
        await client.publish(queue, b"kept")
        leader = await cluster.leader(queue)

        await leader.kill()
        others = [None, leader]
        await eventually(
            lambda: known_leader(cluster, queue), until=lambda led_by: led_by not in others
        )
        await eventually(lambda: client.ready(queue), until=lambda ready: ready == 1)

        await leader.start()
        await cluster.synchronized()
        assert await running_nodes(leader) == len(cluster.nodes)
        taken = await client.take_all(queue)
        assert [message.body for message in taken] == [b"kept"]
        await client.delete(queue)
        with pytest.raises(RabbitmqNodeError, match="no node leads"):
            await cluster.leader(queue)


async def test_a_node_that_is_cut_off_takes_no_clients_until_it_is_reunited(
    cluster: RabbitmqCluster,
) -> None:
    node, *others = cluster.nodes
    with trio.fail_after(PATIENCE):
        await cluster.cut_off(node)
        await eventually(node.answers, until=operator.not_)
        assert await cluster.witness() in others
        assert await running_nodes(others[0]) == len(others)

        await cluster.reunite(node)
        await eventually(node.answers)
        await cluster.synchronized()
        assert await running_nodes(node) == len(cluster.nodes)


@needs_proc
def test_nothing_survives_an_opener_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OPENER], stdout=subprocess.PIPE) as opener:
        assert opener.stdout is not None
        directories = [Path(name) for name in opener.stdout.readline().decode().split()]
        assert len(directories) == 3
        assert all(len(processes_of(directory)) >= 2 for directory in directories)

        opener.kill()

    for directory in directories:
        wait_until_gone(directory)
