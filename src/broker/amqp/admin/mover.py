"""The asyncio half of moving a queue's messages: everything in, everything out, byte for byte.

Messages go through a fanout exchange, because RabbitMQ sends a message with a `CC` header that is
published through the default exchange to the queues that the header names, too. They are consumed
rather than asked for one by one: what a quorum queue gets back unacknowledged from a consumer
returns in its order, and from many `basic.get` in none.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiormq import Channel
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelLockedResource
from pamqp.commands import Basic

from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.queue_type import ignore
from broker.amqp.wire.errors import AmqpError, translated
from broker.amqp.wire.field_table import UnreadablePropertiesError
from broker.amqp.wire.marshal import marshal_ack
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.raw_properties import join_properties, short_string, split_properties
from broker.amqp.wire.takers import ConfirmTaker, ContentTaker, read_delivery
from broker.telemetry.tally import PublishTally

WINDOW = 100
"""Messages that are in memory at once, and that an untimely end may bring twice."""
_QUIET = 0.25
"""Seconds without a delivery after which a queue seems to be empty. Whoever relies on it asks."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a step moved.

    Attributes:
        without_user_id: How many of them had to leave their `user_id` behind.
    """

    count: int
    without_user_id: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class _Message:
    tag: int
    properties: bytes
    body: bytes


class Mover:
    """Moves messages from one queue at a time through exchanges.

    Args:
        channel: A channel of it in confirm mode that nobody else publishes on.
    """

    def __init__(self, connection: Connection, channel: Channel, user: str) -> None:
        self._connection = connection
        self._writer = connection.writer
        self._publisher = Publisher(channel, self._writer, _create_nothing, PublishTally())
        self._user = user
        self._reader: _Reader | None = None
        connection.frames.add_taker(channel.number, ConfirmTaker(self._publisher))

    async def lock(self, name: str) -> bool:
        """Take a lock for as long as the connection lives; return whether nobody else has it.

        What another holder of the lock had not acknowledged is back in its queue by then.

        Raises:
            AmqpError: RabbitMQ refused, or did not answer in time.
        """
        with translated(f"locking {name!r}"):
            channel = await self._connection.channel()
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
            moved = [
                Publishing(
                    *("", one.body, ""),
                    exchange=exchange,
                    kept=without_foreign_user_id(one.properties, self._user),
                    is_moved=True,
                )
                for one in messages
            ]
            outcomes = await asyncio.gather(*self._publisher.outcomes(moved))
            if PublishOutcome.RETURNED in outcomes:
                raise AmqpError("the queue that the messages go to is gone")
            if PublishOutcome.REFUSED in outcomes:
                raise AmqpError("RabbitMQ refused a message, is a queue's length limited?")
            self._writer.write(marshal_ack(messages[-1].tag, channel=self._reader.channel.number))
            await self._writer.flushed()
            pairs = zip(moved, messages, strict=True)
            return Moved(len(messages), sum(now.kept != old.properties for now, old in pairs))

    async def _read(self, queue: str) -> "_Reader":
        channel = await self._connection.channel()
        await channel.basic_qos(prefetch_count=WINDOW, timeout=RPC_TIMEOUT)
        reader = _Reader(channel)
        self._connection.frames.add_taker(channel.number, reader)
        await reader.start(queue)
        return reader


class _Reader:
    """Consumes a queue; the `FrameTaker` of its channel."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel
        self._consumer_tag: str | None = None
        self._deliveries = ContentTaker(Basic.Deliver, read_delivery, self._add)
        self._complete: list[_Message] = []
        self._progressed = asyncio.Event()

    def _add(self, announced: tuple[int, int], properties: bytes, body: bytes) -> None:
        self._complete.append(_Message(announced[0], properties, body))

    async def start(self, queue: str) -> None:
        """Begin to consume."""
        answer = await self.channel.basic_consume(queue, ignore, timeout=RPC_TIMEOUT)
        self._consumer_tag = str(answer.consumer_tag)

    async def read(self) -> Sequence[_Message]:
        """Return what has arrived, and wait for it; nothing when nothing comes any more."""
        if self._consumer_tag is not None:
            with suppress(TimeoutError):
                while not self._complete:
                    self._progressed.clear()
                    async with asyncio.timeout(_QUIET):
                        await self._progressed.wait()
        messages, self._complete = self._complete, []
        return messages

    async def stop(self) -> Sequence[_Message]:
        """Consume no more, and return what arrived before."""
        if self._consumer_tag is not None:
            await self.channel.basic_cancel(self._consumer_tag, timeout=RPC_TIMEOUT)
            self._consumer_tag = None
        return await self.read()

    def take(self, frame_type: int, payload: bytes) -> bool:
        """Take the frames of deliveries."""
        self._progressed.set()
        return self._deliveries.take(frame_type, payload)


def without_foreign_user_id(data: bytes, user: str) -> bytes:
    """Return flags and properties without a `user_id` that is not the user's own.

    RabbitMQ refuses to take such a one.

    Args:
        data: Flags and properties; what cannot be read is left alone.
    """
    try:
        properties = split_properties(data)
    except UnreadablePropertiesError:
        return data
    if properties.get("user_id") in (None, short_string(user)):
        return data
    del properties["user_id"]
    return join_properties(properties)


async def _create_nothing(_: str) -> None:
    """Create no queue: what has no place to go stays where it is."""
