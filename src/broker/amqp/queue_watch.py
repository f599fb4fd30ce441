"""How many messages wait in queues, looked up now and then on a connection of its own."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiormq import Channel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.wire.errors import translated


class QueueCounts(NamedTuple):
    """What RabbitMQ says of a queue."""

    messages: int  # ready to be delivered
    consumers: int


class QueueWatch:
    """Looks at queues while a session lives. Runs in the asyncio event loop.

    Attributes:
        counts: What was seen last, by queue; nothing of queues that are missing or not shown to
            this user. Another thread may ask, too.

    Args:
        interval: Seconds between two looks.
    """

    def __init__(
        self, connect: Callable[[str], Connection], queues: Sequence[str], interval: float = 1.0
    ) -> None:
        self._connect = connect
        self._queues = queues
        self._interval = interval
        self._connection: Connection | None = None
        self.counts: dict[str, QueueCounts] = {}

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            AmqpError: The connection was lost, or it could not be opened.
        """
        self._connection = connection = self._connect("look")
        await connection.open()
        channel: Channel | None = None
        while True:
            for queue in self._queues:
                with translated(f"looking at queue {queue!r}"):
                    channel = await self._look(queue, channel or await connection.channel())
            await asyncio.sleep(self._interval)

    async def close(self) -> None:
        """Close the connection. Never raises; takes two seconds at most."""
        if self._connection is not None:
            await self._connection.close()

    async def _look(self, queue: str, channel: Channel) -> Channel | None:
        """Look at a queue, and return the channel, unless RabbitMQ has closed it."""
        try:
            found = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        except (ChannelNotFoundEntity, ChannelAccessRefused):
            self.counts.pop(queue, None)
            return None
        self.counts[queue] = QueueCounts(found.message_count or 0, found.consumer_count or 0)
        return channel
