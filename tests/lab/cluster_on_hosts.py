"""A RabbitMQ cluster with each node on a host of its own, which can be cut off without a sound."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from broker.sandbox.rabbitmq import started
from broker.sandbox.rabbitmq_installation import Installation, find_installation
from tests.lab.hosts import Host, Network, open_network
from tests.lab.rabbitmq_cluster import RabbitmqCluster
from tests.lab.rabbitmq_node import RabbitmqNode

NET_TICKTIME = 10
"""As docs/scaling.md advises. With RabbitMQ's own 60, a quorum queue whose leader has fallen
silent takes a minute to elect another."""

_RETURN_TIMEOUT = 30.0
_POLL_INTERVAL = 0.5


class ClusterOnHosts(RabbitmqCluster):
    """Made by `open_cluster_on_hosts`."""

    def __init__(self, installation: Installation, network: Network) -> None:
        super().__init__(installation, len(network.hosts), network.hosts, NET_TICKTIME)
        self._network = network

    async def cut_off(self, node: RabbitmqNode) -> None:
        """Let the network swallow all that goes to a node or comes from it, until `reunite`.

        Neither the other nodes nor clients are told: nothing is refused, no connection ends.
        """
        await self._network.cut(self._host(node))

    async def reunite(self, node: RabbitmqNode) -> None:
        """Let everything pass again, and wait until the node takes clients.

        RabbitMQ 3.10 is at times at odds with the others about who is there, and stays paused. Then
        it is started anew, as an operator would do.
        """
        await self._network.mend(self._host(node))
        with trio.move_on_after(_RETURN_TIMEOUT):
            while not await node.answers():
                await trio.sleep(_POLL_INTERVAL)
            return
        await node.kill()
        await node.start()

    def _host(self, node: RabbitmqNode) -> Host:
        return self._network.hosts[self.nodes.index(node)]


@asynccontextmanager
async def open_cluster_on_hosts(size: int = 3) -> AsyncIterator[ClusterOnHosts]:
    """Run a private cluster for the length of the context; see `open_rabbitmq_cluster`.

    It can be reached from this machine and from no other.
    """
    installation = find_installation()
    async with (
        open_network(size) as network,
        started(lambda: ClusterOnHosts(installation, network)) as cluster,
    ):
        yield cluster
