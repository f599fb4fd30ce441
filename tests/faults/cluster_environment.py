"""Where the cluster's scenarios take place: three RabbitMQ nodes, three brokers, one server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.core.messages import AgentStatus
from broker.sandbox.free_ports import HOST, free_ports
from tests.faults import chat
from tests.faults.base_environment import BaseEnvironment
from tests.faults.broker_control import BrokerControl
from tests.faults.checker import Allowed, Verdict
from tests.faults.failure import ScenarioFailedError
from tests.faults.readiness import Watch, watching
from tests.faults.steady import steady
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.rabbitmq_cluster import RabbitmqCluster
from tests.lab.rabbitmq_node import RabbitmqNode

GAP = 15.0
"""Seconds for which routing may stop at most."""
RATE = 200.0
"""Messages per second: each is on three disks before it is confirmed, and again when routed."""
BROKERS = 3
_POLL_INTERVAL = 0.3
_CLOSED_TIMEOUT = 10.0
"""Seconds until a node that was cut off must have closed its clients' connections."""
_CLOSE_TIMEOUT = 30.0


class ClusterEnvironment(BaseEnvironment):
    """One scenario's surroundings. Made by `open_cluster_environment`.

    The queues are quorum queues with a member on each node.

    Attributes:
        cluster: RabbitMQ. Take nodes away and give them back by the methods here.
        server: The stand-in central server of all brokers; `chat.AGENTS` are online.
        brokers: The brokers, by the URL where they answer; not started yet.
    """

    def __init__(
        self,
        portal: BlockingPortal,
        cluster: RabbitmqCluster,
        server: CentralServer,
        directory: Path,
        random: Random,
        *,
        is_long: bool,
    ) -> None:
        super().__init__(portal, cluster.urls, random, is_long=is_long)
        self.cluster = cluster
        self.server = server
        self.brokers: Mapping[str, BrokerControl] = {
            f"http://{HOST}:{port}": self._broker(directory / f"broker-{number}", port)
            for number, port in enumerate(free_ports(BROKERS), 1)
        }
        self._gone: dict[int, datetime] = {}
        self._cut: set[RabbitmqNode] = set()
        self._is_whole = True
        self._routed = 0

    @property
    def duplicates_of_a_fault(self) -> int:
        """How many messages may come twice because of one fault: what all brokers hold."""
        return len(self.brokers) * self.prefetch

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against a node that takes clients; see `RabbitmqNode.ctl`."""
        return await (await self.cluster.witness()).ctl(*arguments)

    async def routed(self) -> int:
        """Return how many messages the brokers have published so far, as far as RabbitMQ knows."""
        with suppress(ConnectionError):
            # A queue that has no leader at the moment says that it is empty.
            self._routed = max(self._routed, await super().routed())
        return self._routed

    async def leader(self) -> RabbitmqNode:
        """Return the node that leads the input queue."""
        return await self.cluster.leader(self.queues.input)

    @asynccontextmanager
    async def routing_on(self) -> AsyncIterator[Watch]:
        """Start brokers that do not run, and see that they route under load while the block runs.

        Raises:
            ScenarioFailedError: They stopped for longer than `GAP`, or a broker was wrong about
                being ready; inside of an exception group.
        """
        for broker in self.brokers.values():
            if not broker.is_running:
                await broker.start()
        async with watching(self.brokers, self._gone) as watch:
            await watch.all_ready()
            async with self.load(RATE):
                await self.routing()
                async with steady(self, gap=GAP, interval=_POLL_INTERVAL):
                    yield watch
            await watch.all_ready()
            await self._all_consume()

    async def kill(self, node: RabbitmqNode) -> None:
        """Kill a node (SIGKILL)."""
        self.fault()
        self._is_whole = False
        await node.kill()
        self._gone[node.port] = datetime.now(UTC)

    async def stop(self, node: RabbitmqNode) -> None:
        """Stop a node gracefully (SIGTERM)."""
        self.fault()
        self._is_whole = False
        await node.stop()
        self._gone[node.port] = datetime.now(UTC)

    async def start(self, node: RabbitmqNode) -> None:
        """Start a node again, and wait until it has caught up."""
        await node.start()
        await self._synchronized()

    async def cut_off(self, node: RabbitmqNode) -> None:
        """Cut a node off from the others."""
        self.fault()
        self._is_whole = False
        self._cut.add(node)
        await self.cluster.cut_off(node)
        self._gone[node.port] = datetime.now(UTC)

    async def closed(self, node: RabbitmqNode) -> None:
        """Wait until a node that is cut off takes no clients.

        Raises:
            ScenarioFailedError: It goes on taking them.
        """
        with trio.move_on_after(_CLOSED_TIMEOUT):
            while await node.answers():
                await trio.sleep(_POLL_INTERVAL)
            return
        raise ScenarioFailedError("a node without a majority goes on")

    async def reunite(self, node: RabbitmqNode) -> None:
        """Let a node that was cut off find the others, and wait until it has caught up."""
        await self.cluster.reunite(node)
        self._cut.discard(node)
        await self._synchronized()

    async def restore(self) -> None:
        """Make the cluster whole, whatever was done to it.

        Raises:
            RabbitmqNodeError: It does not become whole.
        """
        if self._is_whole:
            return
        for node in self._cut:
            await self.cluster.reunite(node)
        self._cut.clear()
        await self.cluster.start()
        await self._synchronized()

    async def settled(self, allowed: Allowed) -> Verdict:
        """Wait until all that went in was routed, and judge what came out so far.

        Args:
            allowed: What may have happened so far.

        Raises:
            ScenarioFailedError: Some was not routed.
        """
        await self.drained()
        return await self.judged(allowed)

    async def finish(self, allowed: Allowed) -> Verdict:
        """Make the cluster whole, let the brokers route what is left, stop them, and judge.

        Args:
            allowed: What the scenario may lead to.

        Raises:
            ScenarioFailedError: They did not route what was left, or did not stop as asked.
        """
        await self.restore()
        await self.drained()
        for broker in self.brokers.values():
            await stopped(broker)
        return await self.judged(allowed)

    async def _synchronized(self) -> None:
        await self.cluster.synchronized()
        self._is_whole = True

    async def _all_consume(self) -> None:
        """See that RabbitMQ has a consumer for each broker that says that it is ready."""
        consumers = (await self.client.look(self.queues.input)).consumers
        if consumers != len(self.brokers):
            raise ScenarioFailedError(
                f"{len(self.brokers)} brokers are ready, and RabbitMQ has {consumers} consumers"
            )

    def _broker(self, directory: Path, port: int) -> BrokerControl:
        directory.mkdir()
        settings = {
            **self.queue_settings(),
            "AMQP_URL": ",".join(self.cluster.urls),
            "WEBSOCKET_URL": self.server.url,
            "BROKER_HTTP_PORT": str(port),
        }
        return BrokerControl(directory, settings)


async def stopped(broker: BrokerControl) -> None:
    """Stop a broker gracefully.

    Raises:
        ScenarioFailedError: Its exit code is not 0.
    """
    code = await broker.terminate()
    if code != 0:
        raise ScenarioFailedError(f"a broker stopped with exit code {code}")


@asynccontextmanager
async def open_cluster_environment(
    cluster: RabbitmqCluster, directory: Path, random: Random, *, is_long: bool
) -> AsyncIterator[ClusterEnvironment]:
    """Prepare an env: quorum queues, a server with agents online, brokers to be started.

    At the end the cluster is whole again.

    Args:
        cluster: A running cluster, all of it.
        directory: Where the brokers run and have their logs.
        random: The source of all that is random.
        is_long: Whether the long form is to be run.
    """
    with start_blocking_portal("asyncio", name="chaos") as portal:
        async with open_central_server() as server:
            env = ClusterEnvironment(portal, cluster, server, directory, random, is_long=is_long)
            server.update(*(AgentStatus(name, name, is_online=True) for name in chat.AGENTS))
            await env.client.declare(env.queue_names(), **{"x-queue-type": "quorum"})
            try:
                yield env
            finally:
                with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                    for broker in env.brokers.values():
                        await broker.close()
                await env.restore()
            await env.client.delete(env.queue_names())
