"""Declaring queues and exchanges on connections that a refusal may close."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from broker.amqp.connection import Connection
from broker.amqp.topology import create_missing, ensure_fanouts, ensure_queues
from broker.amqp.wire.errors import QueueUnavailableError, confined


class Declarations:
    """Creates what is missing. Runs in the asyncio event loop.

    Args:
        connect: Makes a connection for a purpose, not open yet.
    """

    def __init__(self, connect: Callable[[str], Connection]) -> None:
        self._connect = connect

    async def ensure(
        self,
        queues: Sequence[str],
        fanouts: Sequence[str],
        refused: Callable[[str, str], None],
    ) -> None:
        """Create the queues and fanout exchanges that are missing.

        Args:
            queues: The queues.
            fanouts: The exchanges. One that is refused is met again where it is used.
            refused: Called with a queue that RabbitMQ does not let be used, and the reason.

        Raises:
            AmqpError: The connection was lost, or it could not be opened.
        """
        unasked, exchanges = list(queues), list(fanouts)
        while unasked or exchanges:
            async with self._requests() as connection:
                try:
                    with confined():
                        while unasked:
                            await ensure_queues(connection, [unasked[0]])
                            del unasked[0]
                        while exchanges:
                            await ensure_fanouts(connection, [exchanges[0]])
                            del exchanges[0]
                except QueueUnavailableError as error:
                    # The rest is asked for on another connection: some refusals close it.
                    if unasked:
                        refused(unasked.pop(0), str(error))
                    else:
                        del exchanges[0]

    async def create_missing(self, queue: str) -> None:
        """Create a queue that RabbitMQ returned messages for, unless it is back.

        Raises:
            QueueUnavailableError: RabbitMQ refused.
            AmqpError: The connection was lost, or it could not be opened.
        """
        async with self._requests() as connection:
            with confined():
                await create_missing(connection, queue)

    @asynccontextmanager
    async def _requests(self) -> AsyncIterator[Connection]:
        connection = self._connect("declare")
        try:
            await connection.open()
            yield connection
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()
