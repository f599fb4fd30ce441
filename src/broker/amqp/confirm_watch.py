"""A deadline for confirms that stands still while RabbitMQ cannot confirm anything."""

import asyncio
from collections.abc import Callable

from broker.amqp.connection import Connection
from broker.amqp.errors import AmqpError
from broker.amqp.publisher import Publisher

CONFIRM_TIMEOUT = 30.0
"""Seconds without any confirm while some are awaited and RabbitMQ could confirm them."""
_INTERVAL = 1.0


async def watch_confirms(
    connection: Connection, publisher: Publisher, noticed: Callable[[bool], None]
) -> None:
    """Watch that RabbitMQ confirms, until the connection closes.

    Args:
        connection: The connection.
        publisher: Publishes on it.
        noticed: Called once a second with whether RabbitMQ takes no messages because of an alarm.

    Raises:
        AmqpError: RabbitMQ confirmed nothing for `CONFIRM_TIMEOUT` seconds.
    """
    loop = asyncio.get_running_loop()
    unsent = 0
    while not connection.aiormq.closing.done():
        await asyncio.sleep(_INTERVAL)
        is_blocked = await connection.is_blocked()
        noticed(is_blocked)
        # A large body on a slow line takes its time to leave.
        is_leaving = connection.writer.unsent != unsent
        unsent = connection.writer.unsent
        if is_blocked or is_leaving:
            publisher.last_progress = loop.time()
        elif publisher.unconfirmed and loop.time() - publisher.last_progress > CONFIRM_TIMEOUT:
            raise AmqpError(f"RabbitMQ confirmed nothing for {CONFIRM_TIMEOUT:g} s")
