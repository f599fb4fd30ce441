"""Queues as an AMQP client sees and changes them, each request on a channel of its own."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)
from pamqp.common import FieldTable

from broker.amqp.connection import Connection
from broker.amqp.errors import QueueUnavailableError, describe, translated
from broker.amqp.topology import RPC_TIMEOUT

type QueueType = Literal["classic", "quorum"]

QUORUM: QueueType = "quorum"

_NO_TYPE = "?"
"""A type that no queue can have: no queue is created by declaring it."""
_FIRST_THAT_DROPS = 4
INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)'")
"""How RabbitMQ tells the first property in which a declaration differs from what exists."""
_CURRENT_TYPE = re.compile(
    r"arg 'x-queue-type' .* but current is (?:(?:the value )?'([a-z]+)'.*|none)$"
)
_OF_A_STREAM = "of queue type rabbit_stream_queue"
NO_CONSUMER: FieldTable = {"x-priority": "none"}
"""What no consumer can have: none is made by asking for it."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue that exists.

    Attributes:
        ready: Messages that nobody holds.
        consumers: Consumers; a quorum queue counts each message that `basic.get` holds as one.
        type: `classic`, `quorum`, another, or None when RabbitMQ does not tell.
        differs_in: The first property besides its type, as far as it was seen, in which it is no
            durable queue without arguments.
    """

    ready: int
    consumers: int
    type: str | None
    differs_in: str | None


async def look(connection: Connection, queue: str) -> QueueState | None:
    """Return the state of a queue, or None when there is none. Changes nothing.

    RabbitMQ tells the type in the refusal of a declaration with another. It logs that.

    Args:
        connection: A connection for requests that may be refused.
        queue: The queue.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """
    with translated(f"looking for queue {queue!r}"):
        try:
            async with _channel(connection) as channel:
                answer = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        except ChannelNotFoundEntity:
            return None
        refusal = await refusal_of(connection, queue, _arguments(_NO_TYPE))
        kind, differs_in = _told(refusal)
        if kind is not None:
            # RabbitMQ looks at some arguments only after the type.
            _, differs_in = _told(await refusal_of(connection, queue, _arguments(kind)))
    return QueueState(answer.message_count or 0, answer.consumer_count or 0, kind, differs_in)


async def refuse_stream(connection: Connection, queue: str) -> None:
    """Raise an error when a queue that is there is a stream.

    A stream hands each new consumer what is published from then on, and forgets nothing that is
    acknowledged: what came while nobody consumed would be skipped.

    Args:
        connection: A connection for requests that may be refused.
        queue: The queue.

    Raises:
        QueueUnavailableError: It is a stream.
        AmqpError: RabbitMQ did not answer in time, or it refused for another reason.
    """
    with translated(f"looking for the type of queue {queue!r}"):
        # Nothing happens when it is a queue as the broker would create it. RabbitMQ logs an error
        # when it is not.
        refusal = await refusal_of(connection, queue, None)
        kind, differs_in = _told(refusal)
        if differs_in is not None:
            kind, _ = _told(await refusal_of(connection, queue, _arguments(_NO_TYPE)))
        elif isinstance(refusal, ChannelAccessRefused):
            kind = await _type_told_to_consumer(connection, queue)
    if kind == "stream":
        raise QueueUnavailableError(
            f"queue {queue!r} is a stream, which would skip messages; it must be a queue"
        )


async def _type_told_to_consumer(connection: Connection, queue: str) -> str | None:
    """Return `stream` when RabbitMQ says so to a user who may only consume, else None."""
    try:
        async with _channel(connection) as channel:
            await channel.basic_consume(queue, _ignore, arguments=NO_CONSUMER, timeout=RPC_TIMEOUT)
    except ChannelClosed as refusal:
        # Any other refusal comes back when the queue is really consumed.
        return "stream" if tells_stream(refusal) else None
    return None


def tells_stream(refusal: ChannelClosed | None) -> bool:
    """Return whether the refusal of `NO_CONSUMER` says that it was asked of a stream."""
    return refusal is not None and describe(refusal).endswith(_OF_A_STREAM)


async def _ignore(_: DeliveredMessage) -> None:
    """Take no message: none can come."""


def _told(refusal: ChannelClosed | None) -> tuple[str | None, str | None]:
    """Return the type and the other difference that a refusal tells."""
    text = describe(refusal) if isinstance(refusal, ChannelPreconditionFailed) else ""
    current = _CURRENT_TYPE.search(text)
    if current is not None:
        return current[1] or "classic", None
    found = INEQUIVALENT.search(text)
    return None, found[1] if found is not None and found[1] != "x-queue-type" else None


async def refusal_of(
    connection: Connection, queue: str, arguments: FieldTable | None
) -> ChannelClosed | None:
    """Declare a durable queue that exists, and return how RabbitMQ refuses that, if it does."""
    try:
        async with _channel(connection) as channel:
            await channel.queue_declare(
                queue, durable=True, arguments=arguments, timeout=RPC_TIMEOUT
            )
    except (ChannelPreconditionFailed, ChannelAccessRefused) as refusal:
        return refusal
    return None


def _arguments(kind: str) -> FieldTable:
    return {"x-queue-type": kind}


async def create(connection: Connection, queue: str, kind: QueueType) -> None:
    """Declare a durable queue of a type; nothing changes when it exists like that.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """

    async def declare(channel: AbstractChannel) -> None:
        await channel.queue_declare(
            queue, durable=True, arguments=_arguments(kind), timeout=RPC_TIMEOUT
        )

    await _request(connection, f"creating queue {queue!r}", declare)


def drops_by_default(connection: Connection) -> bool:
    """Return whether quorum queues have a delivery limit of their own: RabbitMQ 4 and later."""
    version = str(connection.aiormq.server_properties.get("version", ""))
    major = version.partition(".")[0]
    return major.isdecimal() and int(major) >= _FIRST_THAT_DROPS


async def delete(connection: Connection, queue: str, kind: str) -> int | None:
    """Delete a queue that is empty and not consumed.

    RabbitMQ makes sure of that itself for a classic queue. For a quorum queue it cannot, so that
    is looked at right before.

    Args:
        connection: A connection for requests that may be refused.
        queue: The queue.
        kind: Its type.

    Returns:
        How many messages went with it, as somebody published them in that moment; None when it was
        not deleted, as it has messages or consumers.

    Raises:
        AmqpError: RabbitMQ refused otherwise, or did not answer in time.
    """
    is_checked = kind == "classic"
    if not is_checked:
        state = await look(connection, queue)
        if state is not None and (state.ready or state.consumers):
            return None
    with translated(f"deleting queue {queue!r}"):
        try:
            async with _channel(connection) as channel:
                answer = await channel.queue_delete(
                    queue, if_unused=is_checked, if_empty=is_checked, timeout=RPC_TIMEOUT
                )
        except ChannelPreconditionFailed:
            return None
    return answer.message_count or 0


async def has_exchange(connection: Connection, exchange: str) -> bool:
    """Return whether there is an exchange.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """
    with translated(f"looking for exchange {exchange!r}"):
        try:
            async with _channel(connection) as channel:
                await channel.exchange_declare(exchange, passive=True, timeout=RPC_TIMEOUT)
        except ChannelNotFoundEntity:
            return False
    return True


async def lead_to(connection: Connection, exchange: str, queue: str) -> None:
    """Let all that is published to a fanout exchange, created when missing, go to a queue.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """

    async def bind(channel: AbstractChannel) -> None:
        await channel.exchange_declare(
            exchange, exchange_type="fanout", durable=True, timeout=RPC_TIMEOUT
        )
        await channel.queue_bind(queue, exchange, timeout=RPC_TIMEOUT)

    await _request(connection, f"binding {queue!r} to {exchange!r}", bind)


async def remove_exchange(connection: Connection, exchange: str) -> None:
    """Delete an exchange; nothing changes when there is none.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """

    async def remove(channel: AbstractChannel) -> None:
        await channel.exchange_delete(exchange, timeout=RPC_TIMEOUT)

    await _request(connection, f"deleting exchange {exchange!r}", remove)


async def _request(
    connection: Connection, action: str, request: Callable[[AbstractChannel], Awaitable[None]]
) -> None:
    with translated(action):
        async with _channel(connection) as channel:
            await request(channel)


@asynccontextmanager
async def _channel(connection: Connection) -> AsyncIterator[AbstractChannel]:
    """Open a channel for requests of which one may be refused, which closes the channel."""
    channel = await connection.aiormq.channel(publisher_confirms=False, timeout=RPC_TIMEOUT)
    yield channel
    async with asyncio.timeout(RPC_TIMEOUT):
        await channel.close()
