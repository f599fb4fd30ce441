"""Where layouts are tried: RabbitMQ nodes, the central server, and brokers side by side."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from broker.sandbox.broker_process import BrokerProcess, open_broker
from broker.sandbox.central_server import CentralServer, Message
from tests.bench.names import DEAD_LETTER_QUEUE
from tests.bench.scale.results import Layout
from tests.bench.wire import Wire
from tests.lab.central_server import by_contract
from tests.lab.rabbitmq_node import RabbitmqNode

METADATA_QUEUE = "agent_metadata_queue"
_START_TIMEOUT = 30.0
_POLL_INTERVAL = 0.05


def without_status(server: CentralServer, message: Message) -> Iterable[Message]:
    """Answer as the contract has it, but tell nobody who is online.

    A broker that does not know that takes no message, so all of them can begin at once.
    """
    for answer in by_contract(server, message):
        if answer["message_type"] != "AGENT_STATUS_UPDATE":
            yield answer


async def process_id(node: RabbitmqNode) -> int:
    """Return the process id of a node's virtual machine."""
    return int((await node.ctl("eval", "os:getpid().")).strip().strip('"'))


def input_queues(layout: Layout) -> tuple[str, ...]:
    """Return the names of a layout's input queues."""
    return tuple(f"scale_input_{number}" for number in range(layout.shards))


def output_queues(layout: Layout) -> tuple[str, ...]:
    """Return the names of a layout's output queues, in the order that brokers know them by."""
    return tuple(f"scale_output_{number}" for number in range(layout.shards))


@dataclass(frozen=True)
class Site:
    """Where a layout is tried.

    Attributes:
        nodes: One node, or those of a cluster.
        node_pids: Their process ids.
        server: The stand-in for the central server; answers by `without_status`.
        directory: Where brokers write their logs.
    """

    nodes: Sequence[RabbitmqNode]
    node_pids: Sequence[int]
    server: CentralServer
    directory: Path

    def wire(self, number: int = 0) -> Wire:
        """Connect to a node; numbers beyond the last start again with the first."""
        node = self.nodes[number % len(self.nodes)]
        return Wire(node.host, node.port)

    def make_queues(self, layout: Layout) -> None:
        """Make all queues anew; the shards are led by one node after the other."""
        with self.wire() as wire:
            wire.make_anew(METADATA_QUEUE)
            wire.make_anew(DEAD_LETTER_QUEUE)
        for queues in (input_queues(layout), output_queues(layout)):
            for number, queue in enumerate(queues):
                with self.wire(number) as wire:
                    wire.make_anew(queue, layout.queue_type)

    @asynccontextmanager
    async def brokers(self, layout: Layout) -> AsyncIterator[list[BrokerProcess]]:
        """Run a layout's brokers, spread over the nodes, for the length of the context.

        Yields:
            The brokers, connected, and waiting to be told who is online. They are stopped
            gracefully unless the context is left by an error.

        Raises:
            TimeoutError: They were not all connected in half a minute; the text has the last line
                of the first one's log.
        """
        async with AsyncExitStack() as stack:
            brokers = [
                await stack.enter_async_context(self._broker(layout, number))
                for number in range(layout.brokers)
            ]
            with self.wire() as wire, trio.move_on_after(_START_TIMEOUT) as scope:
                while (
                    self.server.session_count < layout.brokers
                    or wire.consumers(METADATA_QUEUE) < layout.brokers
                ):
                    await trio.sleep(_POLL_INTERVAL)
            if scope.cancelled_caught:
                said = brokers[0].log.read_text(encoding="utf-8", errors="replace").splitlines()
                raise TimeoutError(f"the brokers did not start: {said[-1:]}")
            yield brokers
            async with trio.open_nursery() as nursery:
                for broker in brokers:
                    nursery.start_soon(broker.stop)

    @asynccontextmanager
    async def _broker(self, layout: Layout, number: int) -> AsyncIterator[BrokerProcess]:
        directory = self.directory / f"broker-{number}"
        directory.mkdir(exist_ok=True)
        settings = {
            "AMQP_URL": self.nodes[number % len(self.nodes)].url,
            "WEBSOCKET_URL": self.server.url,
            "BROKER_INPUT_QUEUE": ",".join(input_queues(layout)),
            "BROKER_OUTPUT_QUEUE": ",".join(output_queues(layout)),
            "BROKER_PREFETCH": str(layout.prefetch),
        }
        async with open_broker(directory, settings) as broker:
            yield broker
