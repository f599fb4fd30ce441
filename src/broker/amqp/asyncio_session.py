"""The asyncio half of a session: a publisher, and consumers with a connection each.

Delivery tags live and die with their channel, so everything that knows one lives in here. The loss
of any connection ends the whole session; nothing is patched. What RabbitMQ refuses about one queue
concerns that queue alone. It closes the channel, and for some refusals the connection: so each
consumer has its own, which goes with it and leaves no late frames to anybody.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Self

import structlog

from broker.amqp.announcer import Announcer
from broker.amqp.availability import QueueAvailability
from broker.amqp.consumer import QueueConsumer
from broker.amqp.consumers import Consumers
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.declarations import Declarations
from broker.amqp.delivery import Delivery, Settlement
from broker.amqp.lifetime import Lifetime
from broker.amqp.notices import Notices
from broker.amqp.publisher import PublishOutcome, UnroutableError
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

    Made by `open`. Another thread may read the properties.
    """

    def __init__(
        self,
        connections: SessionConnections,
        availability: QueueAvailability,
        publishing: SessionPublishing,
    ) -> None:
        parameters, lifetime = connections.parameters, connections.lifetime
        self._fanouts, refusals = parameters.fanouts, parameters.refusals
        self._lifetime = lifetime
        self._availability = availability
        self._publishing = publishing
        self._notices = Notices(parameters.tally)
        publisher = publishing.publisher
        self._announcer: Announcer | None = None
        if self._fanouts:
            self._announcer = Announcer(
                connections.new, self._fanouts, publishing.new_publisher, refusals
            )
            lifetime.tasks.create_task(self._announcer.run())
            lifetime.at_end(self._announcer.close)
        self._consumers = Consumers(
            connect=connections.new,
            fanouts=self._fanouts,
            prefetch=parameters.prefetch,
            fail=lifetime.fail,
            new_consumer=partial(
                QueueConsumer,
                publisher=publisher,
                announcer=self._announcer,
                dead_lettering=DeadLettering(
                    publisher, publishing.suspects, refusals, parameters.observer
                ),
                renewal=publishing.renewal,
                notices=self._notices,
                tasks=lifetime.tasks,
                observer=parameters.observer,
            ),
        )
        lifetime.at_end(self._close)
        lifetime.tasks.create_task(self._watch())

    @classmethod
    async def open(cls, parameters: SessionParameters, lifetime: Lifetime) -> Self:
        """Create what is missing, and open the connection that publishes.

        Raises:
            AmqpError: There is no RabbitMQ, it refused, or it did not answer in time.
        """
        connections = SessionConnections(parameters, lifetime)
        declarations = Declarations(connections.new)
        create_task = lifetime.tasks.create_task
        availability = QueueAvailability(create_task, declarations.create_missing)
        await declarations.ensure(parameters.queues, parameters.fanouts, availability.refused)
        publishing = await SessionPublishing.open(connections, availability.wait)
        return cls(connections, availability, publishing)

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ takes no messages because of an alarm, as of a second ago at most."""
        return self._publishing.is_blocked

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that are consumed now."""
        return self._consumers.consumed

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return self._consumers.in_flight

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many of them wait for long, by queue."""
        return self._consumers.on_hold

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by where they go."""
        return self._consumers.tried_again

    @property
    def overdue(self) -> int:
        """How many messages RabbitMQ leaves without an answer."""
        return self._publishing.overdue

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Why queues and exchanges take no messages, by name."""
        problems = dict(self._availability.problems)
        announcing = None if self._announcer is None else self._announcer.problem
        if announcing is not None:
            problems |= dict.fromkeys(self._fanouts, announcing)
        return problems

    async def consumer(self, queue: str) -> QueueConsumer:
        """Return the consumer of a queue; see `Consumers.get`."""
        return await self._consumers.get(queue)

    async def start(
        self,
        consumer: QueueConsumer,
        deliver: Callable[[list[Delivery]], None],
        on_loss: Callable[[AmqpError], None],
    ) -> None:
        """Let a consumer consume; see `Consumers.start`."""
        await self._consumers.start(consumer, deliver, on_loss)

    async def stop(self, consumer: QueueConsumer) -> None:
        """Stop a consumer once it has settled all; see `Consumers.stop`."""
        await self._consumers.stop(consumer)

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
        outcomes = await self._publishing.publish_once(publishings)
        failures: BaseExceptionGroup[Exception] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for publishing, outcome in zip(publishings, outcomes, strict=True):
                    if outcome is not PublishOutcome.CONFIRMED:
                        again = self._publishing.publisher.publish_again(publishing, outcome)
                        tasks.create_task(again)
        except* (AmqpError, UnroutableError) as errors:
            failures = errors
        if failures is not None:
            raise first_error(failures)

    async def _close(self) -> None:
        self._notices.flush()
        await self._consumers.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            self._consumers.hold_overdue()
            tried_again = self.tried_again
            self._availability.waiting([one for one in tried_again if one not in self._fanouts])
