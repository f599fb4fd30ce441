"""Where the cluster's scenarios take place: three RabbitMQ nodes, three brokers, one server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from operator import not_
from pathlib import Path
from random import Random

from tests.faults.base_environment import BaseEnvironment
from tests.faults.broker_control import BrokerControl
from tests.faults.checker import Allowed, Verdict
from tests.faults.readiness import DETECTION, Watch, ask, watching
from tests.faults.steady import steady
from tests.lab.amqp_client import AmqpClient
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_cluster import RabbitmqCluster
from tests.lab.rabbitmq_node import RabbitmqNode

GAP = 15.0
"""Seconds for which routing may stop at most."""
SILENT_GAP = 30.0
"""The same when a node is cut off without a sound."""
SILENT_DETECTION = timedelta(seconds=SILENT_GAP)
"""After that a broker must have noticed that its node is: it waits for signs of life for 20 s."""
RATE = 200.0
"""Messages per second: each is on three disks before it is confirmed, and again when routed."""
BROKERS = 3
_POLL_INTERVAL = 0.3
_CLOSED_TIMEOUT = 10.0
"""Seconds until a node that was cut off must have closed its clients' connections."""


class ClusterEnvironment(BaseEnvironment):
    """One scenario's surroundings. Made by `open_cluster_environment`.

    The queues are quorum queues with a member on each node.
    """

    def __init__(
        self,
        cluster: RabbitmqCluster,
        server: CentralServer,
        directory: Path,
        random: Random,
        *,
        is_long: bool,
    ) -> None:
        super().__init__(cluster.urls, random, is_long=is_long)
        self.cluster = cluster
        self.server = server
        self.brokers = [
            self._broker(directory / f"broker-{number}") for number in range(1, BROKERS + 1)
        ]
        self._gone: dict[int, datetime] = {}
        self._cut: set[RabbitmqNode] = set()
        self._is_whole = True
        self._routed = 0

    @property
    def duplicates_of_a_fault(self) -> int:
        """How many messages may come twice because of one fault: what all brokers hold."""
        return len(self.brokers) * self.prefetch

    async def ctl(self, *arguments: str) -> str:
        return await (await self.cluster.witness()).ctl(*arguments)

    async def routed(self) -> int:
        """Return how many messages the brokers have published so far, as far as RabbitMQ knows."""
        with suppress(ConnectionError):
            # A queue that has no leader at the moment says that it is empty.
            self._routed = max(self._routed, await super().routed())
        return self._routed

    async def leader(self) -> RabbitmqNode:
        return await self.cluster.leader(self.queues.input)

    @asynccontextmanager
    async def routing_on(
        self,
        brokers: Sequence[BrokerControl] | None = None,
        *,
        silent: RabbitmqNode | None = None,
    ) -> AsyncIterator[Watch]:
        """Start brokers that do not run, and see that all route under load while the block runs.

        Args:
            brokers: All of them by default; the others must not run.
            silent: A node that is going to be cut off without a sound. The load is published
                through the others, and what has to notice it has the time that this takes.
        """
        brokers = self.brokers if brokers is None else brokers
        gap, detection = (GAP, DETECTION) if silent is None else (SILENT_GAP, SILENT_DETECTION)
        urls = [node.url for node in self.cluster.nodes if node is not silent]
        for broker in brokers:
            if not broker.is_running:
                await broker.start()
        async with watching(brokers, self._gone, detection=detection) as watch:
            await watch.all_ready()
            async with self.load(RATE, urls=urls):
                await self.routing()
                async with steady(self, gap=gap, interval=_POLL_INTERVAL):
                    yield watch
            await watch.all_ready()
            await self._all_consume(brokers)

    async def node_of(self, broker: BrokerControl) -> RabbitmqNode:
        """Wait until a broker is ready, and return the node that it has its session with."""
        answers = await eventually(
            lambda: ask(broker), "a broker is ready", until=lambda one: one and one.after.ready
        )
        assert answers is not None
        port = answers.after.connections.rabbitmq.port
        [node] = [node for node in self.cluster.nodes if node.port == port]
        return node

    async def kill(self, node: RabbitmqNode) -> None:
        await self._harm(node, RabbitmqNode.kill)

    async def stop(self, node: RabbitmqNode) -> None:
        """Stop a node gracefully (SIGTERM)."""
        await self._harm(node, RabbitmqNode.stop)

    async def cut_off(self, node: RabbitmqNode) -> None:
        self._cut.add(node)
        self._ask_those_within_reach()
        await self._harm(node, self.cluster.cut_off)

    async def _harm(
        self, node: RabbitmqNode, harm: Callable[[RabbitmqNode], Awaitable[None]]
    ) -> None:
        self.fault()
        self._is_whole = False
        await harm(node)
        self._gone[node.port] = datetime.now(UTC)

    async def start(self, node: RabbitmqNode) -> None:
        """Start a node again, and wait until it has caught up."""
        await node.start()
        await self._synchronized()

    async def closed(self, node: RabbitmqNode) -> None:
        await eventually(
            node.answers, "no clients without a majority", until=not_, within=_CLOSED_TIMEOUT
        )

    async def reunite(self, node: RabbitmqNode) -> None:
        """Let a node that was cut off find the others, and wait until it has caught up."""
        await self.cluster.reunite(node)
        self._cut.discard(node)
        self._ask_those_within_reach()
        await self._synchronized()

    async def restore(self) -> None:
        if self._is_whole:
            return
        for node in self._cut:
            await self.cluster.reunite(node)
        self._cut.clear()
        self._ask_those_within_reach()
        await self.cluster.start()
        await self._synchronized()

    async def settled(self, allowed: Allowed) -> Verdict:
        """Wait until all that went in was routed, and judge what came out so far."""
        await self.drained()
        return await self.judged(allowed)

    async def finish(self, allowed: Allowed) -> Verdict:
        """Make the cluster whole, let the brokers route what is left, stop them, and judge."""
        await self.restore()
        await self.drained()
        for broker in self.brokers:
            await broker.stop()
        return await self.judged(allowed)

    async def _synchronized(self) -> None:
        await self.cluster.synchronized()
        self._is_whole = True

    def _ask_those_within_reach(self) -> None:
        # One that is silent would take all the time that a look may take.
        self.client = AmqpClient(
            *(node.url for node in self.cluster.nodes if node not in self._cut)
        )

    async def _all_consume(self, brokers: Sequence[BrokerControl]) -> None:
        """See that RabbitMQ has a consumer for each broker that says that it is ready."""
        consumers = (await self.client.look(self.queues.input)).consumers
        assert consumers == len(brokers), (
            f"{len(brokers)} brokers are ready, and RabbitMQ has {consumers} consumers"
        )

    def _broker(self, directory: Path) -> BrokerControl:
        directory.mkdir()
        settings = {
            **self.queue_settings(),
            "AMQP_URL": ",".join(self.cluster.urls),
            "WEBSOCKET_URL": self.server.url,
            "BROKER_HTTP_PORT": "0",
        }
        return BrokerControl(directory, settings)


@asynccontextmanager
async def open_cluster_environment(
    cluster: RabbitmqCluster, directory: Path, random: Random, *, is_long: bool
) -> AsyncIterator[ClusterEnvironment]:
    """Prepare an env: quorum queues, a server with agents online, brokers to be started.

    At the end the cluster is whole again.
    """
    async with open_central_server() as server:
        env = ClusterEnvironment(cluster, server, directory, random, is_long=is_long)
        async with env.prepared(server, env.brokers, **{"x-queue-type": "quorum"}):
            try:
                yield env
            finally:
                await env.restore()
