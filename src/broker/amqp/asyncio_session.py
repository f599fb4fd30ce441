"""The asyncio half of a session: a publisher, and consumers with a connection each.

Delivery tags live and die with their channel, so everything that knows one lives in here. The loss
of any connection ends the whole session; nothing is patched. What RabbitMQ refuses about one queue
concerns that queue alone. It closes the channel, and for some refusals the connection: so each
consumer has its own, which goes with it and leaves no late frames to anybody.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Self

import structlog

from broker.amqp.announcer import Announcer
from broker.amqp.availability import QueueAvailability
from broker.amqp.consumer import QueueConsumer, Settling
from broker.amqp.consumers import Consumers
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.declarations import create_missing, ensure, exists
from broker.amqp.delivery import Settlement
from broker.amqp.lifetime import Lifetime
from broker.amqp.paced_log import PacedLog
from broker.amqp.publisher import PublishOutcome, UnroutableError
from broker.amqp.queue_watch import QueueWatch
from broker.amqp.session_connections import SessionConnections
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.session_publishing import SessionPublishing
from broker.amqp.wire.errors import AmqpError, describe
from broker.amqp.wire.publishing import Publishing
from broker.concurrency.error_groups import first_error

_WATCH_INTERVAL = 1.0

_log = structlog.get_logger(__name__)


class AsyncioSession:
    """Everything that is open while a session lives. Runs in the asyncio event loop.

    Made by `open`.
    """

    def __init__(
        self,
        connections: SessionConnections,
        availability: QueueAvailability,
        publishing: SessionPublishing,
    ) -> None:
        parameters, lifetime = connections.parameters, connections.lifetime
        self._fanouts = parameters.fanouts
        self._connections = connections
        self._lifetime = lifetime
        self._availability = availability
        self.publishing = publishing
        self._log = PacedLog()
        self._announcer: Announcer | None = None
        if self._fanouts:
            self._announcer = Announcer(
                connections.new, self._fanouts, publishing.new_publisher, parameters.refusals
            )
            lifetime.tasks.create_task(self._announcer.run())
            lifetime.at_end(self._announcer.close)
        self.watch = QueueWatch(connections.new, parameters.watched, lambda: publishing.is_blocked)
        if parameters.watched:
            lifetime.tasks.create_task(self.watch.run())
            lifetime.at_end(self.watch.close)
        settling = Settling(
            publishing.publishers,
            DeadLettering(publishing.publishers, parameters.observer),
            parameters.tally,
            self._log,
            lifetime.tasks,
            parameters.observer,
            self._announcer,
        )
        self.consumers = Consumers(connections.new, parameters, settling, lifetime.fail)
        lifetime.at_end(self._close)
        lifetime.tasks.create_task(self._watch())

    @classmethod
    async def open(cls, parameters: SessionParameters, lifetime: Lifetime) -> Self:
        """Create what is missing, and open the connection that publishes.

        Raises:
            AmqpError: There is no RabbitMQ, it refused, or it did not answer in time.
        """
        connections = SessionConnections(parameters, lifetime)
        availability = QueueAvailability(
            lifetime.tasks.create_task, partial(create_missing, connections.new)
        )
        await ensure(connections.new, parameters.queues, parameters.fanouts, availability.refused)
        publishing = await SessionPublishing.open(connections, availability.wait)
        return cls(connections, availability, publishing)

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Why queues and exchanges take no messages, by name. Another thread may ask, too."""
        problems = dict(self._availability.problems)
        announcing = None if self._announcer is None else self._announcer.problem
        if announcing is not None:
            problems |= dict.fromkeys(self._fanouts, announcing)
        return problems

    def publish_decided(self, consumer: QueueConsumer, settlements: Sequence[Settlement]) -> None:
        """Publish what was decided; see `QueueConsumer.publish`. A failure ends the session."""
        try:
            consumer.publish(settlements)
        except Exception as error:  # noqa: BLE001 - nobody waits for this call
            _log.exception("publishing_failed")
            self._lifetime.fail(AmqpError(f"publishing failed: {describe(error)}"))

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        """Publish, and return when all are confirmed.

        Raises:
            UnroutableError: There is no queue for one of them.
            AmqpError: The session was lost; which of them arrived is not known.
        """
        outcomes = await self.publishing.publish_once(publishings)
        failures: BaseExceptionGroup[Exception] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for publishing, outcome in zip(publishings, outcomes, strict=True):
                    if outcome is not PublishOutcome.CONFIRMED:
                        publisher = self.publishing.publishers.usual
                        tasks.create_task(publisher.publish_again(publishing, outcome))
        except* (AmqpError, UnroutableError) as errors:
            failures = errors
        if failures is not None:
            raise first_error(failures)

    async def has_queue(self, queue: str) -> bool:
        """Return whether a queue exists, as far as RabbitMQ says so to this user.

        Raises:
            AmqpError: The connection was lost, or it could not be opened.
        """
        return await exists(self._connections.new, queue)

    async def _close(self) -> None:
        self._log.flush()
        await self.consumers.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            self.consumers.hold_overdue()
            tried_again = self.consumers.tried_again
            self._availability.waiting([one for one in tried_again if one not in self._fanouts])
