"""Queues and exchanges created when they are missing, on connections that a refusal may close."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from broker.amqp import topology
from broker.amqp.connection import Connection
from broker.amqp.wire.errors import QueueUnavailableError, confined

type Connect = Callable[[str], Connection]
"""Makes a connection for a purpose, not open yet."""


async def ensure(
    connect: Connect,
    queues: Sequence[str],
    fanouts: Sequence[str],
    refused: Callable[[str, str], None],
) -> None:
    """Create the queues and fanout exchanges that are missing.

    Args:
        fanouts: The exchanges. One that is refused is met again where it is used.
        refused: Called with a queue that RabbitMQ does not let be used, and the reason.

    Raises:
        AmqpError: The connection was lost, or it could not be opened.
    """
    requests: list[tuple[Callable[[Connection, str], Awaitable[None]], str]] = [
        *((topology.ensure_queue, queue) for queue in queues),
        *((topology.ensure_fanout, exchange) for exchange in fanouts),
    ]
    while requests:
        async with _requests(connect) as connection:
            try:
                with confined():
                    while requests:
                        request, name = requests[0]
                        await request(connection, name)
                        del requests[0]
            except QueueUnavailableError as error:
                # The rest is asked for on another connection: some refusals close it.
                request, name = requests.pop(0)
                if request is topology.ensure_queue:
                    refused(name, str(error))


async def create_missing(connect: Connect, queue: str) -> None:
    """Create a queue that RabbitMQ returned messages for, unless it is back.

    Raises:
        QueueUnavailableError: RabbitMQ refused.
        AmqpError: The connection was lost, or it could not be opened.
    """
    async with _requests(connect) as connection:
        with confined():
            await topology.ensure_queue(connection, queue, has_returned=True)


async def exists(connect: Connect, queue: str) -> bool:
    """Return whether a queue exists, as far as RabbitMQ says so to this user.

    Raises:
        AmqpError: The connection was lost, or it could not be opened.
    """
    async with _requests(connect) as connection:
        return await topology.has_queue(connection, queue)


@asynccontextmanager
async def _requests(connect: Connect) -> AsyncIterator[Connection]:
    connection = connect("declare")
    try:
        await connection.open()
        yield connection
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()
