"""The type of a queue, as RabbitMQ tells it in refusals; each request on a channel of its own."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelClosed, ChannelPreconditionFailed
from pamqp.common import FieldTable

from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.wire.errors import QueueUnavailableError, describe, translated

NO_TYPE = "?"
"""A type that no queue can have: no queue is created by declaring it."""
INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)'")
"""How RabbitMQ tells the first property in which a declaration differs from what exists."""
_CURRENT_TYPE = re.compile(
    r"arg 'x-queue-type' .* but current is (?:(?:the value )?'([a-z]+)'.*|none)$"
)
_OF_A_STREAM = "of queue type rabbit_stream_queue"


async def refuse_stream(connection: Connection, queue: str) -> None:
    """Raise an error when a queue that is there is a stream.

    A stream hands each new consumer what is published from then on, and forgets nothing that is
    acknowledged: what came while nobody consumed would be skipped.

    Raises:
        QueueUnavailableError: It is a stream.
        AmqpError: RabbitMQ did not answer in time, or it refused for another reason.
    """
    with translated(f"looking for the type of queue {queue!r}"):
        # Nothing happens when it is a queue as the broker would create it. RabbitMQ logs an error
        # when it is not.
        refusal = await refusal_of(connection, queue, None)
        kind, differs_in = told_by(refusal)
        if differs_in is not None:
            kind, _ = told_by(await refusal_of(connection, queue, type_argument(NO_TYPE)))
        elif isinstance(refusal, ChannelAccessRefused):
            kind = await _type_told_to_consumer(connection, queue)
    if kind == "stream":
        raise QueueUnavailableError(
            f"queue {queue!r} is a stream, which would skip messages; it must be a queue"
        )


async def _type_told_to_consumer(connection: Connection, queue: str) -> str | None:
    """Return `stream` when RabbitMQ says so to a user who may only consume, else None."""
    try:
        async with channel_for_requests(connection) as channel:
            await consume_in_vain(channel, queue)
    except ChannelClosed as refusal:
        # Any other refusal comes back when the queue is really consumed.
        return "stream" if tells_stream(refusal) else None
    return None


def tells_stream(refusal: ChannelClosed | None) -> bool:
    """Return whether the refusal of `consume_in_vain` says that it was asked of a stream."""
    return refusal is not None and describe(refusal).endswith(_OF_A_STREAM)


def told_by(refusal: ChannelClosed | None) -> tuple[str | None, str | None]:
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
        async with channel_for_requests(connection) as channel:
            await channel.queue_declare(
                queue, durable=True, arguments=arguments, timeout=RPC_TIMEOUT
            )
    except (ChannelPreconditionFailed, ChannelAccessRefused) as refusal:
        return refusal
    return None


def type_argument(kind: str) -> FieldTable:
    """Return the arguments that declare a queue of a type."""
    return {"x-queue-type": kind}


@asynccontextmanager
async def channel_for_requests(connection: Connection) -> AsyncIterator[AbstractChannel]:
    """Open a channel for requests of which one may be refused, which closes the channel."""
    channel = await connection.channel()
    yield channel
    async with asyncio.timeout(RPC_TIMEOUT):
        await channel.close()


async def consume_in_vain(channel: AbstractChannel, queue: str) -> None:
    """Ask for a consumer that RabbitMQ refuses, for one reason or another."""
    arguments: FieldTable = {"x-priority": "none"}
    await channel.basic_consume(queue, ignore, arguments=arguments, timeout=RPC_TIMEOUT)


async def ignore(_: DeliveredMessage) -> None:
    """Take no message: none can come, or all are taken before aiormq sees them."""
