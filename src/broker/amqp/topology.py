"""Queues: used as they are where they exist, created where they are missing."""

from collections.abc import Sequence

import structlog
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from broker.amqp.connection import Connection
from broker.amqp.errors import translated

RPC_TIMEOUT = 10.0
"""Seconds that RabbitMQ has to answer a request."""

_log = structlog.get_logger(__name__)


async def ensure_queues(connection: Connection, queues: Sequence[str]) -> None:
    """Create the queues that do not exist: durable, without arguments.

    Peers declare the same names without arguments, and RabbitMQ refuses a declaration that
    differs from what exists. So each queue is looked for first, and one that an operator made with
    other arguments is used as it is.

    Args:
        connection: A connection for this alone. A missing queue closes the channel that asked for
            it, and late frames of a closed channel are no neighbours for deliveries.
        queues: Their names.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """
    for queue in queues:
        with translated(f"looking for queue {queue!r}"):
            if not await _exists(connection, queue):
                await _create(connection, queue)


async def _exists(connection: Connection, queue: str) -> bool:
    channel = await _channel(connection)
    try:
        await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
    except ChannelNotFoundEntity:
        return False
    return True


async def _create(connection: Connection, queue: str) -> None:
    channel = await _channel(connection)
    await channel.queue_declare(queue, durable=True, timeout=RPC_TIMEOUT)
    _log.info("queue_created", queue=queue)


async def _channel(connection: Connection) -> AbstractChannel:
    # It is closed with its connection.
    return await connection.aiormq.channel(publisher_confirms=False, timeout=RPC_TIMEOUT)
