"""A private RabbitMQ cluster: nodes that find each other, and can be cut off from each other.

Each is a node as in `broker.sandbox.rabbitmq`, with ports, data and a log of its own; together they
have one epmd, kept by the first, and one cookie. A node that is cut off from the majority pauses:
it closes its clients' connections and takes no new ones until it sees the others again.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio

from broker.concurrency.error_groups import first_error
from broker.sandbox.free_ports import free_ports
from broker.sandbox.rabbitmq import started
from broker.sandbox.rabbitmq_errors import NodeEndedError, RabbitmqNodeError
from broker.sandbox.rabbitmq_files import Membership, unique_name
from broker.sandbox.rabbitmq_installation import Installation, find_installation
from tests.lab.hosts import HERE, Host
from tests.lab.rabbitmq_node import RabbitmqNode

_STARTUP_TIMEOUT: Final = 120.0
"""Seconds until a node must speak AMQP: several start at once, and wait for each other."""
NET_TICKTIME: Final = 4
"""Seconds, give or take a quarter, after which a node counts as gone that only says nothing."""
SYNCHRONIZE_TIMEOUT: Final = 60.0
"""Seconds until all members of all quorum queues must be back after all nodes are."""
_JOIN_TIMEOUT: Final = 20.0
_POLL_INTERVAL: Final = 0.2


class RabbitmqCluster:
    """Nodes that are one cluster, made by `open_rabbitmq_cluster`.

    A node that is started again has the data it had, and joins by itself. One that was paused for
    longer than `NET_TICKTIME` does not: Mnesia holds that the cluster was partitioned, until the
    node is started anew.

    Args:
        size: How many nodes.
        hosts: Where they run, one on each; all of them on this machine by default.
    """

    def __init__(
        self,
        installation: Installation,
        size: int,
        hosts: Sequence[Host] | None = None,
        net_ticktime: int = NET_TICKTIME,
    ) -> None:
        cookie, [epmd_port] = secrets.token_hex(16), free_ports(1)
        places = [HERE] * size if hosts is None else hosts
        members = [
            Membership(
                unique_name(),
                cookie,
                epmd_port,
                keeps_epmd=number == 0 or place is not HERE,
                address=place.address,
            )
            for number, place in enumerate(places)
        ]
        self.nodes: Final[Sequence[RabbitmqNode]] = [
            RabbitmqNode(
                installation,
                member,
                startup_timeout=_STARTUP_TIMEOUT,
                config=_config(members),
                advanced_config=f"[{{kernel, [{{net_ticktime, {net_ticktime}}}]}}]",
                inside=place.inside,
            )
            for member, place in zip(members, places, strict=True)
        ]

    @property
    def urls(self) -> Sequence[str]:
        """Where and as whom to connect, one URL for each node."""
        return [node.url for node in self.nodes]

    async def start(self) -> None:
        """Start the nodes that do not run, side by side, and wait until they are one cluster."""
        await self._each(RabbitmqNode.start)
        running = 0
        with trio.move_on_after(_JOIN_TIMEOUT):
            # A node speaks AMQP a moment before it counts as running.
            while running != len(self.nodes):
                await trio.sleep(_POLL_INTERVAL)
                running = await running_nodes(self.nodes[0])
            return
        # Another try may help, as it does with a port that is taken.
        raise NodeEndedError(f"{running} of {len(self.nodes)} nodes are in the cluster")

    async def close(self) -> None:
        """Kill what runs and remove all directories."""
        await self._each(RabbitmqNode.close)

    async def cut_off(self, node: RabbitmqNode) -> None:
        """Cut the connections between a running node and all others, until `reunite`.

        All of them notice at once. Takes a second.
        """
        # Each would connect again, were it not for a cookie that the others do not know.
        await self._for_each_other(node, "erlang:set_cookie(N, cut), erlang:disconnect_node(N)")

    async def reunite(self, node: RabbitmqNode) -> None:
        """Let a node that was cut off and the others find each other again, by themselves."""
        await self._for_each_other(node, "erlang:set_cookie(N, erlang:get_cookie())")

    async def witness(self) -> RabbitmqNode:
        """Return a node that takes clients, and so is with the majority."""
        for node in self.nodes:
            if await node.answers():
                return node
        raise RabbitmqNodeError("no node of the cluster answers")

    async def leader(self, queue: str) -> RabbitmqNode:
        """Return the node that leads a quorum queue, as a node that takes clients knows it.

        After a fault it may for a moment be the one before.
        """
        listed = await (await self.witness()).ctl("list_queues", "name", "leader")
        leaders = dict(line.split("\t") for line in listed.splitlines())
        for node in self.nodes:
            if node.name == leaders.get(queue):
                return node
        raise RabbitmqNodeError(f"no node leads a quorum queue {queue!r}")

    async def synchronized(self) -> None:
        """Wait until all nodes are there, and so is each member of each quorum queue.

        Then any one node may go without stopping a queue.

        Raises:
            RabbitmqNodeError: They are not, within `SYNCHRONIZE_TIMEOUT`.
        """
        with trio.move_on_after(SYNCHRONIZE_TIMEOUT):
            for node in self.nodes:
                while not await node.answers():
                    await trio.sleep(_POLL_INTERVAL)
            # Any node can tell, as each queue has a member on each.
            await self.nodes[0].ctl(
                *("--script-name", "rabbitmq-upgrade", "await_online_quorum_plus_one"),
                *("--timeout", str(round(SYNCHRONIZE_TIMEOUT))),
            )
            return
        raise RabbitmqNodeError(
            f"not all members of all quorum queues were back within {SYNCHRONIZE_TIMEOUT:g} s"
        )

    async def _for_each_other(self, node: RabbitmqNode, expression: str) -> None:
        others = ", ".join(f"'{other.name}'" for other in self.nodes if other is not node)
        await node.ctl("eval", f"[begin {expression} end || N <- [{others}]].")

    async def _each(self, act: Callable[[RabbitmqNode], Awaitable[None]]) -> None:
        failed: BaseExceptionGroup[RabbitmqNodeError] | None = None
        try:
            async with trio.open_nursery() as nursery:
                for node in self.nodes:
                    nursery.start_soon(act, node)
        except* RabbitmqNodeError as errors:
            failed = errors
        if failed is not None:
            raise first_error(failed)


async def running_nodes(node: RabbitmqNode) -> int:
    """Return how many nodes of its cluster a node sees running, itself included."""
    return int(await node.ctl("eval", "length(rabbit_nodes:all_running())."))


@asynccontextmanager
async def open_rabbitmq_cluster(size: int = 3) -> AsyncIterator[RabbitmqCluster]:
    """Run a private RabbitMQ cluster for the length of the context.

    Like a node of `open_rabbitmq_node` it listens on loopback only, and disappears with the context
    or with this process.

    Args:
        size: How many nodes; an odd number, so that one side of a cut has the majority.

    Raises:
        RabbitmqNotInstalledError: RabbitMQ or Erlang is missing; the text says how to install it.
        RabbitmqNodeError: The cluster did not start. The text ends with the tail of a node's log.
    """
    installation = find_installation()
    async with started(lambda: RabbitmqCluster(installation, size)) as cluster:
        yield cluster


def _config(members: Sequence[Membership]) -> str:
    return "".join(
        f"{key} = {value}\n"
        for key, value in (
            ("loopback_users", "none"),  # clients may be on another host
            ("cluster_formation.peer_discovery_backend", "classic_config"),
            *(
                (f"cluster_formation.classic_config.nodes.{number}", member.node)
                for number, member in enumerate(members, 1)
            ),
            ("cluster_partition_handling", "pause_minority"),
        )
    )
