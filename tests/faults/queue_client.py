"""A plain AMQP client that makes, watches and empties queues. It shares no code with the broker."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import sample
from typing import NamedTuple

import aiormq
import trio
from aiormq.abc import AbstractChannel, AbstractConnection, ChannelFrame, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelPreconditionFailed
from anyio.from_thread import BlockingPortal

from tests.faults.raw_content import FRAME_MAX, Content, content_frames
from tests.faults.taken import Taken

LOST = (AMQPError, OSError, TimeoutError, asyncio.CancelledError, RuntimeError)
"""What aiormq raises when a connection is lost or cannot be made; it even lets go of a cancellation
of its own."""
TIMEOUT = 10.0
"""Seconds that connecting, or a request, may take."""
_CLOSE_TIMEOUT = 1.0
_TAKE_TIMEOUT = 120.0
_TAKE_RATE = 1_000
"""Messages per second; beside other work it is not much faster."""
_PUBLISH_TIMEOUT = 60.0


class QueueState(NamedTuple):
    """A queue at some moment.

    Attributes:
        ready: How many messages wait in it; those that a consumer holds are not among them.
        consumers: How many consumers it has.
    """

    ready: int
    consumers: int


class QueueClient:
    """Asks RabbitMQ directly, past all proxies. Each call uses a connection of its own.

    No call is cancelled half-way: each ends by its own deadline.

    Args:
        portal: An asyncio event loop.
        urls: The node, or all nodes of a cluster; any that answers is asked.
    """

    def __init__(self, portal: BlockingPortal, *urls: str) -> None:
        self._portal = portal
        self._urls = urls

    async def declare(self, queues: Sequence[str], **arguments: str | int) -> None:
        """Make durable queues: without arguments, as all peers do, or with an operator's.

        Raises:
            ConnectionError: The node did not do it in time.
        """

        async def declare(channel: AbstractChannel) -> None:
            for queue in queues:
                await channel.queue_declare(
                    queue, durable=True, arguments=dict(arguments), timeout=TIMEOUT
                )

        await self._with_channel(declare)

    async def delete(self, queues: Sequence[str]) -> None:
        """Delete queues with all that is in them.

        Raises:
            ConnectionError: The node did not do it in time.
        """

        async def delete(channel: AbstractChannel) -> None:
            for queue in queues:
                await channel.queue_delete(queue, timeout=TIMEOUT)

        await self._with_channel(delete)

    async def delete_if_empty(self, queue: str) -> bool:
        """Delete a queue, and return True; or return False when there are messages in it.

        Raises:
            ConnectionError: The node did not do it in time.
        """

        async def delete(channel: AbstractChannel) -> bool:
            try:
                await channel.queue_delete(queue, if_empty=True, timeout=TIMEOUT)
            except ChannelPreconditionFailed:
                return False
            return True

        return await self._with_channel(delete)

    async def publish(self, queue: str, contents: Sequence[Content]) -> None:
        """Publish messages that were made by hand, in order. On return the queue has them.

        Raises:
            ConnectionError: The node did not take them in time.
        """

        async def publish(channel: AbstractChannel) -> None:
            exchange = f"{queue}_fanout"
            if any(content.routing_key is not None for content in contents):
                await channel.exchange_declare(
                    exchange, exchange_type="fanout", auto_delete=True, timeout=TIMEOUT
                )
                await channel.queue_bind(queue, exchange, timeout=TIMEOUT)
            for content in contents:
                is_direct = content.routing_key is None
                payload = content_frames(
                    channel.number,
                    b"" if is_direct else exchange.encode(),
                    content.routing_key if content.routing_key is not None else queue.encode(),
                    content.properties,
                    content.body,
                    frame_max=channel.connection.connection_tune.frame_max,
                )
                await channel.connection.write_queue.put(ChannelFrame(payload, should_close=False))
            # Answered after all of that has been dealt with.
            await channel.queue_declare(queue, passive=True, timeout=_PUBLISH_TIMEOUT)

        await self._with_channel(publish)

    async def look(self, queue: str) -> QueueState:
        """Return what RabbitMQ says of a queue.

        Raises:
            ConnectionError: The node did not say so in time.
        """

        async def look(channel: AbstractChannel) -> QueueState:
            answer = await channel.queue_declare(queue, passive=True, timeout=TIMEOUT)
            return QueueState(answer.message_count or 0, answer.consumer_count or 0)

        return await self._with_channel(look)

    async def take_all(self, queue: str) -> list[Taken]:
        """Take everything out of a queue that nobody writes to any more.

        Raises:
            ConnectionError: The node did not give it in time.
        """

        async def take_all(channel: AbstractChannel) -> list[Taken]:
            answer = await channel.queue_declare(queue, passive=True, timeout=TIMEOUT)
            all_taken: list[Taken] = []
            complete = asyncio.Event()
            expected = answer.message_count or 0

            async def take(message: DeliveredMessage) -> None:
                all_taken.append(taken(message))
                if len(all_taken) >= expected:
                    complete.set()

            if expected:
                await channel.basic_consume(queue, take, no_ack=True, timeout=TIMEOUT)
                async with asyncio.timeout(_TAKE_TIMEOUT + expected / _TAKE_RATE):
                    await complete.wait()
            return all_taken

        return await self._with_channel(take_all)

    async def _with_channel[T](self, use: Callable[[AbstractChannel], Awaitable[T]]) -> T:
        async def call() -> T:
            try:
                connection = await connect(*self._urls)
                try:
                    return await use(await connection.channel(publisher_confirms=False))
                finally:
                    await close(connection)
            except LOST as error:
                raise ConnectionError(f"RabbitMQ did not answer: {error!r}") from error

        with trio.CancelScope(shield=True):
            result = await self._portal.call_async(call)
        return result  # noqa: RET504 - a scope may swallow, as far as the type checker knows


def taken(message: DeliveredMessage) -> Taken:
    """Return what counts of a message that was delivered."""
    properties = message.header.properties
    return Taken(
        message.body,
        properties.message_id,
        frozenset(name for name, value in properties if value not in (None, "")),
        properties.headers or {},
    )


async def connect(*urls: str) -> AbstractConnection:
    """Connect in the asyncio event loop, to any node that answers.

    Raises:
        ConnectionError: None is there, or answered in time.
    """
    error: BaseException | None = None
    for url in sample(urls, len(urls)):
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = await aiormq.connect(url)
        except LOST as this_error:
            error = this_error
        else:
            # 0 means frames of any size, which aiormq takes for a size.
            tune = connection.connection_tune
            tune.frame_max = tune.frame_max or FRAME_MAX
            return connection
    raise ConnectionError(f"no node answered: {error!r}") from error


async def close(connection: AbstractConnection) -> None:
    """Close a connection in the asyncio event loop, whatever state it is in."""
    with suppress(*LOST):
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await connection.close()
