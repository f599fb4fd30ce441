"""Announcements: published on a connection of their own, so that a refusal hurts nothing else.

RabbitMQ closes the channel of a publishing to an exchange that is missing, internal, or not for
this user. What was under way on it is published again once the exchange can be used.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from aiormq import Channel

from broker.amqp.confinement import ConfinedChannel, open_channel
from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.refusals import Refusals
from broker.amqp.topology import ensure_fanout
from broker.amqp.wire.errors import AmqpError, QueueUnavailableError, confined
from broker.amqp.wire.publishing import Publishing
from broker.net.backoff import Backoff

LONGEST_PAUSE = 10.0
"""Seconds between two tries while RabbitMQ refuses."""

_log = structlog.get_logger(__name__)


class Announcer:
    """Publishes to fanout exchanges. Runs in the asyncio event loop.

    Nothing is dropped: what RabbitMQ does not take waits, and so do the deliveries that it came
    of. The prefetch bounds their number.

    Attributes:
        problem: Why RabbitMQ takes no announcements now; None when it does, as far as it is known.
    """

    def __init__(
        self,
        connect: Callable[[str], Connection],
        fanouts: Sequence[str],
        new_publisher: Callable[[Connection, Channel], Publisher],
        refusals: Refusals,
    ) -> None:
        self._connect = connect
        self._fanouts = fanouts
        self._new_publisher = new_publisher
        self._refusals = refusals
        self._waiting: dict[int, tuple[Publishing, Callable[[PublishOutcome], None], object]] = {}
        self._last_key = 0
        self._pauses = Backoff(maximum=LONGEST_PAUSE)
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self.problem: str | None = None

    def submit(
        self, announcement: Publishing, done: Callable[[PublishOutcome], None], owner: object
    ) -> None:
        """Publish, now or as soon as the exchange can be used. Does not wait.

        Args:
            done: Called when it is confirmed, unless the session ends before.
        """
        self._last_key += 1
        self._waiting[self._last_key] = (announcement, done, owner)
        self._publish(self._last_key)

    def tell(self, announcement: Publishing) -> None:
        """Publish once, if the exchange can be used now; what becomes of it does not matter."""
        if self._publisher is not None and self.problem is None:
            self._publisher.submit([(announcement, _whatever_comes_of_it)])

    def forget(self, owner: object) -> None:
        """Publish nothing more of somebody to whom all of it will be delivered again."""
        for key in [key for key, (_, _, one) in self._waiting.items() if one is owner]:
            del self._waiting[key]

    async def run(self) -> None:
        """Keep a way to the exchanges open, until cancelled.

        Raises:
            AmqpError: The connection was lost, or an announcement was too large for RabbitMQ.
        """
        while True:
            connection = self._connection = self._connect("announce")
            try:
                await connection.open()
                problem = await self._publish_on(connection)
            except QueueUnavailableError as error:
                problem = str(error)
            finally:
                self._publisher = None
            await connection.close()
            self._fails(problem)
            await asyncio.sleep(self._pauses.next())

    async def close(self) -> None:
        """Close the connection. Never raises; takes two seconds at most."""
        if self._connection is not None:
            await self._connection.close()

    async def _publish_on(self, connection: Connection) -> str:
        """Publish what comes, and return why RabbitMQ closed the channel."""
        with confined():
            for exchange in self._fanouts:
                await ensure_fanout(connection, exchange)
            channel = await open_channel(connection, publisher_confirms=True)
        publisher = self._new_publisher(connection, channel)
        ended: asyncio.Future[AmqpError] = asyncio.get_running_loop().create_future()

        def end(error: AmqpError) -> None:
            if not ended.done():  # cancelled, and not awake yet
                ended.set_result(error)

        confined_channel = ConfinedChannel(connection, channel, end)
        self._publisher = publisher
        if not self._waiting:
            self._works()
        for key in tuple(self._waiting):
            self._publish(key)
        try:
            error = await ended
        finally:
            confined_channel.detach()
        if not isinstance(error, QueueUnavailableError):
            raise error
        if self._refusals.learn_limit(str(error)):
            # What it is about comes again, and is dead-lettered then.
            raise AmqpError(str(error))
        return str(error)

    def _publish(self, key: int) -> None:
        if self._publisher is not None and key in self._waiting:
            done = partial(self._published, key, self._publisher)
            self._publisher.submit([(self._waiting[key][0], done)])

    def _published(self, key: int, publisher: Publisher, outcome: PublishOutcome) -> None:
        if publisher is not self._publisher or key not in self._waiting:
            return
        if outcome is PublishOutcome.CONFIRMED:
            _, done, _ = self._waiting.pop(key)
            self._works()
            done(outcome)
        else:
            asyncio.get_running_loop().call_later(self._pauses.next(), self._publish, key)

    def _fails(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("announcements_refused", error=problem)
        self.problem = problem

    def _works(self) -> None:
        if self.problem is not None:
            _log.info("announcements_resumed")
        self.problem = None
        self._pauses = Backoff(maximum=LONGEST_PAUSE)


def _whatever_comes_of_it(_outcome: PublishOutcome) -> None:
    pass
