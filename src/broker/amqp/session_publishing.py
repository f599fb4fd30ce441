"""What a session publishes with, in the AMQP thread."""

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Self

from aiormq import Channel

from broker.amqp.confinement import loss
from broker.amqp.confirm_watch import ConfirmWatch
from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.session_connections import SessionConnections
from broker.amqp.suspects import Publishers, SuspectPublisher
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.takers import ConfirmTaker


class SessionPublishing:
    """The publishers of a session, each with a watch over its confirms.

    Attributes:
        product: What they publish to; see `Connection.product`.
    """

    def __init__(
        self,
        connections: SessionConnections,
        ensure_queue: Callable[[str], Awaitable[None]],
        connection: Connection,
        channel: Channel,
    ) -> None:
        self._tally = connections.parameters.tally
        self._timeouts = connections.parameters.timeouts
        self._tasks = connections.lifetime.tasks
        self._ensure_queue = ensure_queue
        self.product = connection.product
        usual, self._confirms = self._add_publisher(connection, channel)
        refusals = connections.parameters.refusals
        connect = partial(connections.open_apart, "suspects")
        suspects = SuspectPublisher(connect, self.new_publisher, refusals)
        self.publishers = Publishers(usual, suspects, refusals)
        for closing in (channel.closing, connection.aiormq.closing):
            closing.add_done_callback(self._learn)

    @classmethod
    async def open(
        cls, connections: SessionConnections, ensure_queue: Callable[[str], Awaitable[None]]
    ) -> Self:
        """Open the connection of the usual publisher.

        Raises:
            AmqpError: There is no RabbitMQ, it refused, or it did not answer in time.
        """
        connection = await connections.open("publish")
        channel = await connections.open_channel(connection, publisher_confirms=True)
        return cls(connections, ensure_queue, connection, channel)

    @property
    def is_blocked(self) -> bool:
        """See `ConfirmWatch`. Another thread may ask, too."""
        return self._confirms.is_blocked

    @property
    def overdue(self) -> int:
        """How many messages RabbitMQ leaves without an answer. Another thread may ask, too."""
        return self._confirms.overdue

    def new_publisher(self, connection: Connection, channel: Channel) -> Publisher:
        """Make a publisher for a channel in confirm mode, and watch that it is answered."""
        publisher, _ = self._add_publisher(connection, channel)
        return publisher

    async def publish_once(self, publishings: Sequence[Publishing]) -> Sequence[PublishOutcome]:
        """Publish, and return what RabbitMQ made of each, without another try."""
        return await asyncio.gather(*self.publishers.usual.outcomes(publishings))

    def _add_publisher(
        self, connection: Connection, channel: Channel
    ) -> tuple[Publisher, ConfirmWatch]:
        publisher = Publisher(channel, connection.writer, self._ensure_queue, self._tally)
        connection.frames.add_taker(channel.number, ConfirmTaker(publisher))
        watch = ConfirmWatch(publisher, self._timeouts)
        self._tasks.create_task(watch.run(connection))
        return publisher, watch

    def _learn(self, closing: Future[None]) -> None:
        self.publishers.refusals.learn(loss(closing))
