"""Publishing what may be the message for which RabbitMQ closed a channel: one by one, apart."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aiormq import Channel

from broker.amqp.confinement import loss, open_channel
from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.refusals import Refusals
from broker.amqp.wire.errors import AmqpError, describe
from broker.amqp.wire.publishing import Publishing


class PublishingRefusedError(Exception):
    """RabbitMQ closed the channel because of a message; the text is what it said."""


class SuspectPublisher:
    """Publishes suspects on a connection of its own, each after the confirm of the one before.

    When RabbitMQ closes that connection, it is known which message was to blame, and the session
    lives on. Runs in the asyncio event loop.

    Args:
        new_publisher: Makes a publisher for a channel of it, which ends the session when it waits
            for a confirm for too long.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        new_publisher: Callable[[Connection, Channel], Publisher],
        refusals: Refusals,
    ) -> None:
        self._connect = connect
        self._new_publisher = new_publisher
        self._refusals = refusals
        self._turn = asyncio.Lock()
        self._open: _Open | None = None

    async def publish(self, publishing: Publishing) -> PublishOutcome:
        """Publish once, and return what RabbitMQ made of it.

        Raises:
            PublishingRefusedError: RabbitMQ closed the channel because of it.
            AmqpError: The connection was lost for another reason, or could not be opened.
        """
        async with self._turn:
            self._open = suspected = self._open or await self._opened()
            [outcome] = suspected.publisher.outcomes([publishing])
            awaited: Sequence[asyncio.Future[Any]] = (outcome, *suspected.closing)
            try:
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                # Its answer may still come, and must not be taken for that to the next one.
                self._open = None
                suspected.connection.abort()
                raise
            if outcome.done():
                return outcome.result()
            self._open = None
            reason = loss(*suspected.closing)
            await suspected.connection.close()
            if self._refusals.learn(reason):
                raise PublishingRefusedError(describe(reason))
            raise AmqpError(f"publishing suspects: {describe(reason)}")

    async def _opened(self) -> "_Open":
        connection = await self._connect()
        channel = await open_channel(connection, publisher_confirms=True)
        # aiormq makes a new future each time that it is asked, and keeps it.
        closing = (channel.closing, connection.aiormq.closing)
        return _Open(self._new_publisher(connection, channel), connection, closing)


class Publishers(NamedTuple):
    """What a session publishes with; the suspects are messages that may cost the connection."""

    usual: Publisher
    suspects: SuspectPublisher
    refusals: Refusals


class _Open(NamedTuple):
    publisher: Publisher
    connection: Connection
    closing: Sequence[asyncio.Future[None]]
