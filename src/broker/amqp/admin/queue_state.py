"""Queues as an AMQP client sees and changes them, each request on a channel of its own.

Every function takes a connection for requests that may be refused, and raises `AmqpError` when
RabbitMQ refuses or does not answer in time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.queue_type import (
    NO_TYPE,
    channel_for_requests,
    refusal_of,
    told_by,
    type_argument,
)
from broker.amqp.wire.errors import translated

type QueueType = Literal["classic", "quorum"]

QUORUM: QueueType = "quorum"

_FIRST_THAT_DROPS = 4


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue that exists.

    Attributes:
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
    """
    with translated(f"looking for queue {queue!r}"):
        try:
            async with channel_for_requests(connection) as channel:
                answer = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        except ChannelNotFoundEntity:
            return None
        refusal = await refusal_of(connection, queue, type_argument(NO_TYPE))
        kind, differs_in = told_by(refusal)
        if kind is not None:
            # RabbitMQ looks at some arguments only after the type.
            _, differs_in = told_by(await refusal_of(connection, queue, type_argument(kind)))
    return QueueState(answer.message_count or 0, answer.consumer_count or 0, kind, differs_in)


async def create(connection: Connection, queue: str, kind: QueueType) -> None:
    """Declare a durable queue of a type; nothing changes when it exists like that."""
    async with _requesting(connection, f"creating queue {queue!r}") as channel:
        await channel.queue_declare(
            queue, durable=True, arguments=type_argument(kind), timeout=RPC_TIMEOUT
        )


def drops_by_default(connection: Connection) -> bool:
    """Return whether quorum queues have a delivery limit of their own: RabbitMQ 4 and later."""
    version = str(connection.aiormq.server_properties.get("version", ""))
    major = version.partition(".")[0]
    return major.isdecimal() and int(major) >= _FIRST_THAT_DROPS


async def delete(connection: Connection, queue: str, kind: str) -> int | None:
    """Delete a queue that is empty and not consumed.

    RabbitMQ makes sure of that itself for a classic queue. For a quorum queue it cannot, so that
    is looked at right before.

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
            async with channel_for_requests(connection) as channel:
                answer = await channel.queue_delete(
                    queue, if_unused=is_checked, if_empty=is_checked, timeout=RPC_TIMEOUT
                )
        except ChannelPreconditionFailed:
            return None
    return answer.message_count or 0


async def has_exchange(connection: Connection, exchange: str) -> bool:
    """Return whether there is an exchange."""
    with translated(f"looking for exchange {exchange!r}"):
        try:
            async with channel_for_requests(connection) as channel:
                await channel.exchange_declare(exchange, passive=True, timeout=RPC_TIMEOUT)
        except ChannelNotFoundEntity:
            return False
    return True


async def lead_to(connection: Connection, exchange: str, queue: str) -> None:
    """Let all that is published to a fanout exchange, created when missing, go to a queue."""
    async with _requesting(connection, f"binding {queue!r} to {exchange!r}") as channel:
        await channel.exchange_declare(
            exchange, exchange_type="fanout", durable=True, timeout=RPC_TIMEOUT
        )
        await channel.queue_bind(queue, exchange, timeout=RPC_TIMEOUT)


async def remove_exchange(connection: Connection, exchange: str) -> None:
    """Delete an exchange; nothing changes when there is none."""
    async with _requesting(connection, f"deleting exchange {exchange!r}") as channel:
        await channel.exchange_delete(exchange, timeout=RPC_TIMEOUT)


@asynccontextmanager
async def _requesting(connection: Connection, action: str) -> AsyncIterator[AbstractChannel]:
    with translated(action):
        async with channel_for_requests(connection) as channel:
            yield channel
