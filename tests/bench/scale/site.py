"""Where layouts are tried: RabbitMQ nodes, the central server, and brokers side by side."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from broker.sandbox.broker_process import BrokerProcess, open_broker
from broker.sandbox.central_server import CentralServer, Message
from tests.bench.names import DEAD_LETTER_QUEUE
from tests.bench.queues import make_anew
from tests.bench.scale.results import Layout
from tests.lab.amqp_connection import AmqpConnection
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
    return int((await node.ctl("eval", "os:getpid().")).strip().strip('"'))


def input_queues(layout: Layout) -> tuple[str, ...]:
    return tuple(f"scale_input_{number}" for number in range(layout.shards))


def output_queues(layout: Layout) -> tuple[str, ...]:
    """Return the names of a layout's output queues, in the order that brokers know them by."""
    return tuple(f"scale_output_{number}" for number in range(layout.shards))


@dataclass(frozen=True)
class Site:
    """Where a layout is tried.

    Attributes:
        server: The stand-in for the central server; answers by `without_status`.
    """

    nodes: Sequence[RabbitmqNode]
    node_pids: Sequence[int]
    server: CentralServer
    directory: Path

    def connect(self, number: int = 0) -> AmqpConnection:
        """Connect to a node; numbers beyond the last start again with the first."""
        return AmqpConnection(self.nodes[number % len(self.nodes)].url)

    def make_queues(self, layout: Layout) -> None:
        """Make all queues anew; the shards are led by one node after the other."""
        with self.connect() as connection:
            make_anew(connection, METADATA_QUEUE, DEAD_LETTER_QUEUE)
        for queues in (input_queues(layout), output_queues(layout)):
            for number, queue in enumerate(queues):
                with self.connect(number) as connection:
                    make_anew(connection, queue, queue_type=layout.queue_type)

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
            with self.connect() as connection, trio.move_on_after(_START_TIMEOUT) as scope:
                while (
                    self.server.session_count < layout.brokers
                    or connection.look(METADATA_QUEUE).consumers < layout.brokers
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
