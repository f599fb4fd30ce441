"""The asyncio half of moving a queue's messages: everything in, everything out, byte for byte.

Messages go through a fanout exchange, because RabbitMQ sends a message with a `CC` header that is
published through the default exchange to the queues that the header names, too. They are consumed
rather than asked for one by one: what a quorum queue gets back unacknowledged from a consumer
returns in its order, and from many `basic.get` in none.
"""

import asyncio
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiormq import Channel
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource
from pamqp import commands
from pamqp.constants import FRAME_METHOD

from broker.amqp.admin.raw_message import RawMessage, marshal_raw
from broker.amqp.connection import Connection
from broker.amqp.topology import RPC_TIMEOUT
from broker.amqp.wire.content import Content
from broker.amqp.wire.errors import AmqpError, translated
from broker.amqp.wire.marshal import marshal_ack
from broker.amqp.wire.properties import Properties
from broker.amqp.wire.raw_properties import without_foreign_user_id
from broker.amqp.wire.writer import FrameWriter

WINDOW = 100
"""Messages that are in memory at once, and that an untimely end may bring twice."""
_QUIET = 0.25
"""Seconds without a delivery after which a queue seems to be empty. Whoever relies on it asks."""

_DELIVER = struct.pack(">I", commands.Basic.Deliver.index)
_unpack_number = struct.Struct(">Q").unpack_from


@dataclass(frozen=True, slots=True)
class Moved:
    """What a step moved.

    Attributes:
        count: Messages; none when the queue seems to be empty.
        without_user_id: How many of them had to leave their `user_id` behind.
    """

    count: int
    without_user_id: int = 0


class Mover:
    """Moves messages from one queue at a time through exchanges.

    Args:
        connection: A connection for this alone.
        channel: A channel of it in confirm mode that nobody else publishes on.
        user: Who is logged in.
    """

    def __init__(self, connection: Connection, channel: Channel, user: str) -> None:
        self._connection = connection
        self._writer = connection.writer
        self._publisher = _RawPublisher(channel, self._writer)
        self._user = user
        self._reader: _Reader | None = None
        connection.add_sink(channel.number, self._publisher)

    async def lock(self, name: str) -> bool:
        """Take a lock that nobody else has, for as long as the connection lives.

        What another holder of the lock had not acknowledged is back in its queue by then.

        Args:
            name: A name for an exclusive queue.

        Returns:
            Whether nobody else has it.

        Raises:
            AmqpError: RabbitMQ refused, or did not answer in time.
        """
        with translated(f"locking {name!r}"):
            channel = await self._channel()
            try:
                await channel.queue_declare(name, exclusive=True, timeout=RPC_TIMEOUT)
            except ChannelLockedResource:
                return False
        return True

    async def move(self, queue: str, exchange: str) -> Moved:
        """Move some messages from the head of a queue, at most `WINDOW`.

        Each is acknowledged after RabbitMQ has confirmed that a queue behind the exchange has it.
        Between the calls the queue is consumed, until one has found nothing.

        Args:
            queue: Where they come from; another only after a call that found nothing.
            exchange: An exchange with a queue bound to it.

        Raises:
            AmqpError: RabbitMQ did not take them. What it took may come twice; nothing is lost.
        """
        with translated(f"moving the messages of {queue!r}"):
            if self._reader is None:
                self._reader = await self._read(queue)
            messages = await self._reader.read() or await self._reader.stop()
            if not messages:
                async with asyncio.timeout(RPC_TIMEOUT):
                    await self._reader.channel.close()
                self._reader = None
                return Moved(0)
            properties = [without_foreign_user_id(one.properties, self._user) for one in messages]
            await self._publisher.publish(
                exchange, [(raw, one.body) for raw, one in zip(properties, messages, strict=True)]
            )
            self._writer.write(marshal_ack(messages[-1].tag, channel=self._reader.channel.number))
            await self._writer.flushed()
            changed = sum(
                raw != one.properties for raw, one in zip(properties, messages, strict=True)
            )
            return Moved(len(messages), changed)

    async def _read(self, queue: str) -> "_Reader":
        channel = await self._channel()
        await channel.basic_qos(prefetch_count=WINDOW, timeout=RPC_TIMEOUT)
        reader = _Reader(channel)
        self._connection.add_taker(channel.number, reader)
        await reader.start(queue)
        return reader

    async def _channel(self) -> AbstractChannel:
        return await self._connection.aiormq.channel(publisher_confirms=False, timeout=RPC_TIMEOUT)


class _RawPublisher:
    """Publishes a window, and waits for all of its confirms; the `FrameSink` of its channel."""

    def __init__(self, channel: Channel, writer: FrameWriter) -> None:
        self._channel = channel.number
        self._frame_max = channel.connection.connection_tune.frame_max
        self._writer = writer
        self._last_number = 0
        self._pending: set[int] = set()
        self._problem: str | None = None
        self._settled = asyncio.Event()

    async def publish(self, exchange: str, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Publish pairs of properties and body.

        Raises:
            AmqpError: RabbitMQ refused one of them, or there is no queue for it.
        """
        self._pending.update(range(self._last_number + 1, self._last_number + 1 + len(messages)))
        self._last_number += len(messages)
        self._settled.clear()
        self._writer.write(
            b"".join(
                marshal_raw(
                    exchange, properties, body, channel=self._channel, frame_max=self._frame_max
                )
                for properties, body in messages
            )
        )
        await self._settled.wait()
        if self._problem is not None:
            raise AmqpError(self._problem)

    def confirmed(self, tag: int, *, multiple: bool, positive: bool) -> None:
        """Take a confirm."""
        if not positive:
            self._problem = "RabbitMQ refused a message, is a queue's length limited?"
        self._pending -= {one for one in self._pending if one <= tag} if multiple else {tag}
        if not self._pending:
            self._settled.set()

    def returned(self, properties: Properties) -> None:  # noqa: ARG002 - the sink's signature
        """Take note that a message has no queue to go to; its confirm follows."""
        self._problem = "the queue that the messages go to is gone"

    def delivered(
        self, tag: int, *, redelivered: bool, properties: Properties, body: bytes
    ) -> None:
        """Nothing is consumed on this channel."""

    def flush(self) -> None:
        """Nothing is collected here."""


class _Reader:
    """Consumes a queue; the `FrameTaker` of its channel."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel
        self._consumer_tag: str | None = None
        self._tag = 0
        self._content: Content | None = None
        self._complete: list[RawMessage] = []
        self._progressed = asyncio.Event()

    async def start(self, queue: str) -> None:
        """Begin to consume."""
        answer = await self.channel.basic_consume(queue, _ignore, timeout=RPC_TIMEOUT)
        self._consumer_tag = str(answer.consumer_tag)

    async def read(self) -> Sequence[RawMessage]:
        """Return what has arrived, and wait for it; nothing when nothing comes any more."""
        if self._consumer_tag is not None:
            with suppress(TimeoutError):
                while not self._complete:
                    self._progressed.clear()
                    async with asyncio.timeout(_QUIET):
                        await self._progressed.wait()
        messages, self._complete = self._complete, []
        return messages

    async def stop(self) -> Sequence[RawMessage]:
        """Consume no more, and return what arrived before."""
        if self._consumer_tag is not None:
            await self.channel.basic_cancel(self._consumer_tag, timeout=RPC_TIMEOUT)
            self._consumer_tag = None
        return await self.read()

    def take(self, frame_type: int, payload: bytes) -> bool:
        """Take the frames of deliveries."""
        self._progressed.set()
        if frame_type == FRAME_METHOD:
            if not payload.startswith(_DELIVER):
                return False
            # The consumer's tag stands before, names that the sender chose behind it.
            (tag,) = _unpack_number(payload, 5 + payload[4])
            self._tag, self._content = tag, Content()
            return True
        content = self._content
        if content is None:
            raise KeyError("a content that nothing announced")
        if content.take(frame_type, payload):
            self._complete.append(RawMessage(self._tag, content.properties, content.body))
            self._content = None
        return True


async def _ignore(_: DeliveredMessage) -> None:
    """Take no message: all are taken before aiormq sees them."""
