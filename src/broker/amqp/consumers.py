"""The consumers of a session, each on a connection of its own."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from functools import partial

from broker.amqp.confinement import ConfinedChannel, open_channel
from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.consumer import QueueConsumer, Settling
from broker.amqp.declarations import Connect
from broker.amqp.delivery import Delivery
from broker.amqp.queue_type import refuse_stream
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.topology import ensure_fanout, ensure_queue, listen
from broker.amqp.wire.errors import AmqpError, QueueUnavailableError, confined, translated

PREPARE_TIMEOUT = 10.0
"""Seconds in which RabbitMQ must answer all requests that come before a consumer can start."""


class Consumers:
    """Opens consumers, and gives one up that RabbitMQ refuses or cancels. Runs in asyncio.

    What concerns one queue raises `QueueUnavailableError` when RabbitMQ does not let that queue be
    consumed now, and `AmqpError` when a connection was lost or could not be opened.

    Args:
        fail: Ends the session, as a connection was lost.
    """

    def __init__(
        self,
        connect: Connect,
        parameters: SessionParameters,
        settling: Settling,
        fail: Callable[[AmqpError], None],
    ) -> None:
        self._connect = connect
        self._fanouts = parameters.fanouts
        self._prefetch = parameters.prefetch
        self._settling = settling
        self._fail = fail
        self._consumers: dict[str, QueueConsumer] = {}
        self._channels: dict[str, ConfinedChannel] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that are consumed now. Another thread may ask, too."""
        consumers = tuple(self._consumers.items())
        return {queue for queue, consumer in consumers if consumer.is_consuming}

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet. Another thread may ask, too."""
        return sum(consumer.in_flight for consumer in tuple(self._consumers.values()))

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many of them wait for long, by queue. Another thread may ask, too."""
        return {queue: consumer.on_hold for queue, consumer in tuple(self._consumers.items())}

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by where they go."""
        consumers = tuple(self._consumers.values())
        return sum((consumer.tried_again for consumer in consumers), Counter[str]())

    async def get(self, queue: str) -> QueueConsumer:
        """Return the consumer of a queue, which consumes once it is started."""
        consumer = self._consumers.get(queue)
        return await self._open(queue) if consumer is None else consumer

    async def start(
        self,
        consumer: QueueConsumer,
        deliver: Callable[[list[Delivery]], None],
        on_loss: Callable[[AmqpError], None],
    ) -> None:
        """Let a consumer consume; see `QueueConsumer.start`. If refused, it is lost."""
        try:
            with confined():
                await consumer.start(deliver, on_loss)
        except QueueUnavailableError as error:
            self._lose(consumer.queue, error)
            raise

    async def stop(self, consumer: QueueConsumer) -> None:
        """Stop a consumer, and wait until all that it handed out is settled and acknowledged.

        Raises:
            QueueUnavailableError: It was lost before, or its connection hangs, and something is
                back in the queue, or will be.
        """
        try:
            with confined():
                await consumer.stop()
        except QueueUnavailableError as error:
            self._lose(consumer.queue, error)
            if consumer.has_delivered:
                # It hangs, and whether RabbitMQ has read the last acknowledgements is not known.
                raise
        await consumer.drained()

    def hold_overdue(self) -> None:
        """See `QueueConsumer.hold_overdue`."""
        for consumer in self._consumers.values():
            consumer.hold_overdue()

    async def close(self) -> None:
        """Close all connections. Never raises; takes two seconds at most."""
        for queue in tuple(self._channels):
            self._drop(queue)
        while self._closing:
            # Unlike `gather` it lets the event loop go on also when all of them are done already.
            await asyncio.wait(self._closing)

    async def _open(self, queue: str) -> QueueConsumer:
        connection = self._connect(f"consume {queue}")
        try:
            await connection.open()
            with confined(), translated(f"preparing to consume {queue!r}"):
                async with asyncio.timeout(PREPARE_TIMEOUT):
                    return await self._prepare(connection, queue)
        except BaseException:
            self._close_soon(connection)
            raise

    async def _prepare(self, connection: Connection, queue: str) -> QueueConsumer:
        is_fanout = queue in self._fanouts
        if is_fanout:
            await ensure_fanout(connection, queue)
        else:
            await ensure_queue(connection, queue)
            await refuse_stream(connection, queue)
        channel = await open_channel(connection, publisher_confirms=False)
        with translated(f"setting the prefetch of {queue!r}"):
            await channel.basic_qos(prefetch_count=self._prefetch, timeout=RPC_TIMEOUT)
        ended = partial(self._ended, queue)
        consumer = QueueConsumer(
            queue,
            channel,
            connection.writer,
            self._settling,
            consumed=await listen(channel, queue) if is_fanout else queue,
            cancelled=ended,
        )
        connection.add_sink(channel.number, consumer)
        self._consumers[queue] = consumer
        self._channels[queue] = ConfinedChannel(connection, channel, ended)
        return consumer

    def _ended(self, queue: str, error: AmqpError) -> None:
        if isinstance(error, QueueUnavailableError):
            self._lose(queue, error)
        else:
            self._fail(error)

    def _lose(self, queue: str, error: AmqpError) -> None:
        consumer = self._consumers.pop(queue, None)
        if consumer is not None:
            self._drop(queue)
            consumer.lose(error)

    def _drop(self, queue: str) -> None:
        channel = self._channels.pop(queue)
        channel.detach()
        self._close_soon(channel.connection)

    def _close_soon(self, connection: Connection) -> None:
        closing = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
