"""Connections of which each serves one queue or exchange: a refusal concerns that one alone.

RabbitMQ refuses by closing the channel, and some requests by closing the connection: a quorum queue
without a majority answers to a consumer with INTERNAL_ERROR. What shares a connection with it would
be lost, too, or meet late frames of the closed channel.
"""

from asyncio import Future
from collections.abc import Callable

from aiormq import Channel

from broker.amqp.connection import Connection
from broker.amqp.wire.errors import (
    AmqpError,
    QueueUnavailableError,
    describe,
    is_refusal,
    translated,
)


class ConfinedChannel:
    """The channel of a connection that has no other with anything to lose.

    Args:
        ended: Called once when RabbitMQ closed one of them, or they were lost: with a
            `QueueUnavailableError` for a refusal, else with an `AmqpError`.
    """

    def __init__(
        self, connection: Connection, channel: Channel, ended: Callable[[AmqpError], None]
    ) -> None:
        self.connection = connection
        self.channel = channel
        self._ended: Callable[[AmqpError], None] | None = ended
        channel.closing.add_done_callback(self._closed)
        connection.aiormq.closing.add_done_callback(self._closed)

    def detach(self) -> None:
        """Report nothing any more."""
        self._ended = None

    def _closed(self, future: Future[None]) -> None:
        reason = loss(future)
        ended, self._ended = self._ended, None
        if ended is not None:
            kind = QueueUnavailableError if is_refusal(reason) else AmqpError
            ended(kind(describe(reason)))


def loss(*closing: Future[None]) -> BaseException:
    """Return why one of aiormq's channels or connections closed."""
    reasons = (one.exception() for one in closing if one.done() and not one.cancelled())
    return next(filter(None, reasons), ConnectionError("the connection was lost"))


async def open_channel(connection: Connection, *, publisher_confirms: bool) -> Channel:
    """Open a channel.

    Raises:
        AmqpError: RabbitMQ refused, or did not answer in time.
    """
    with translated("opening a channel"):
        return await connection.channel(publisher_confirms=publisher_confirms)
