"""Queues and exchanges: used as they are where they exist, created where they are missing.

Every function raises `AmqpError` when RabbitMQ refuses or does not answer in time.
"""

import secrets

import structlog
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.wire.errors import translated

_log = structlog.get_logger(__name__)


async def ensure_queue(connection: Connection, queue: str, *, has_returned: bool = False) -> None:
    """Create a queue unless it exists: durable, without arguments.

    Peers declare the same names without arguments, and RabbitMQ refuses a declaration that
    differs from what exists. So the queue is looked for first, and one that an operator made with
    other arguments is used as it is. RabbitMQ 4.2.6 and later refuse to look for a user without
    rights on the queue. That is no proof of its absence, and it is taken for granted.

    Args:
        connection: A connection for this alone. A missing queue closes the channel that asked for
            it, and late frames of a closed channel are no neighbours for deliveries.
        has_returned: Whether RabbitMQ returned a message for want of it. Then it is missing, unless
            it is seen to be back.
    """
    with translated(f"looking for queue {queue!r}"):
        is_missing = False
        try:
            channel = await connection.channel()
            await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        except ChannelNotFoundEntity:
            # Also what RabbitMQ answers when the only node with the queue is down. It then refuses
            # the declaration, too.
            is_missing = True
        except ChannelAccessRefused:
            _log.debug("queue_not_shown", queue=queue)
            is_missing = has_returned
        if is_missing:
            channel = await connection.channel()
            await channel.queue_declare(queue, durable=True, timeout=RPC_TIMEOUT)
            _log.info("queue_created", queue=queue)


async def has_queue(connection: Connection, queue: str) -> bool:
    """Return whether a queue exists, as far as RabbitMQ says so to this user."""
    with translated(f"looking for queue {queue!r}"):
        try:
            channel = await connection.channel()
            await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        except (ChannelNotFoundEntity, ChannelAccessRefused):
            return False
    return True


async def ensure_fanout(connection: Connection, exchange: str) -> None:
    """Create a fanout exchange unless it exists: durable. Otherwise as `ensure_queue`."""
    with translated(f"looking for exchange {exchange!r}"):
        try:
            channel = await connection.channel()
            await channel.exchange_declare(exchange, passive=True, timeout=RPC_TIMEOUT)
        except ChannelAccessRefused:
            _log.debug("exchange_not_shown", exchange=exchange)
        except ChannelNotFoundEntity:
            channel = await connection.channel()
            await channel.exchange_declare(
                exchange, exchange_type="fanout", durable=True, timeout=RPC_TIMEOUT
            )
            _log.info("exchange_created", exchange=exchange)


async def listen(channel: AbstractChannel, exchange: str) -> str:
    """Return a new queue that gets a copy of whatever is published to a fanout exchange.

    It belongs to the channel's connection, and ends with it or with its consumer. Its name is new
    each time: the queue of a connection that was lost stays until RabbitMQ has noticed that.
    """
    queue = f"{exchange}.{secrets.token_hex(6)}"
    with translated(f"listening to exchange {exchange!r}"):
        await channel.queue_declare(queue, exclusive=True, auto_delete=True, timeout=RPC_TIMEOUT)
        await channel.queue_bind(queue, exchange, timeout=RPC_TIMEOUT)
    return queue
