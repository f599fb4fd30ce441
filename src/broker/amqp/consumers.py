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
    consumed now, and `AmqpError` when a connection was lost or could not be opened. Another thread
    may read the properties.
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
        self._open: dict[str, tuple[QueueConsumer, ConfinedChannel]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that are consumed now."""
        return {consumer.queue for consumer in self._consumers if consumer.is_consuming}

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return sum(consumer.in_flight for consumer in self._consumers)

    @property
    def oldest_since(self) -> float | None:
        """When the oldest of them arrived, by the loop's clock; None without any."""
        times = (consumer.oldest_since for consumer in self._consumers)
        return min((at for at in times if at is not None), default=None)

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many of them wait for long, by queue."""
        return {consumer.queue: consumer.on_hold for consumer in self._consumers}

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by where they go."""
        return sum((consumer.tried_again for consumer in self._consumers), Counter[str]())

    @property
    def _consumers(self) -> list[QueueConsumer]:
        # In one step, as another thread may ask.
        return [consumer for consumer, _ in tuple(self._open.values())]

    async def get(self, queue: str) -> QueueConsumer:
        """Return the consumer of a queue, which consumes once it is started."""
        return self._open[queue][0] if queue in self._open else await self._prepare(queue)

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
        if consumer.has_delivered and consumer.queue in self._open:
            await self._see_acknowledgements_read(consumer.queue)

    async def _see_acknowledgements_read(self, queue: str) -> None:
        """Return once RabbitMQ has read all that was written: it may have closed the channel."""
        channel = self._open[queue][1].channel
        try:
            with confined(), translated(f"acknowledging the last deliveries of {queue!r}"):
                await channel.basic_qos(prefetch_count=self._prefetch, timeout=RPC_TIMEOUT)
        except QueueUnavailableError as error:
            self._lose(queue, error)
            raise

    def hold_overdue(self) -> None:
        """See `QueueConsumer.hold_overdue`."""
        for consumer in self._consumers:
            consumer.hold_overdue()

    async def close(self) -> None:
        """Close all connections. Never raises; takes two seconds at most."""
        for _, channel in self._open.values():
            self._drop(channel)
        self._open.clear()
        while self._closing:
            # Unlike `gather` it lets the event loop go on also when all of them are done already.
            await asyncio.wait(self._closing)

    async def _prepare(self, queue: str) -> QueueConsumer:
        connection = self._connect(f"consume {queue}")
        try:
            await connection.open()
            with confined(), translated(f"preparing to consume {queue!r}"):
                async with asyncio.timeout(PREPARE_TIMEOUT):
                    return await self._prepare_on(connection, queue)
        except BaseException:
            self._close_soon(connection)
            raise

    async def _prepare_on(self, connection: Connection, queue: str) -> QueueConsumer:
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
        connection.frames.add_sink(channel.number, consumer)
        self._open[queue] = consumer, ConfinedChannel(connection, channel, ended)
        return consumer

    def _ended(self, queue: str, error: AmqpError) -> None:
        if isinstance(error, QueueUnavailableError):
            self._lose(queue, error)
        else:
            self._fail(error)

    def _lose(self, queue: str, error: AmqpError) -> None:
        if queue in self._open:
            consumer, channel = self._open.pop(queue)
            self._drop(channel)
            consumer.lose(error)

    def _drop(self, channel: ConfinedChannel) -> None:
        channel.detach()
        self._close_soon(channel.connection)

    def _close_soon(self, connection: Connection) -> None:
        closing = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
