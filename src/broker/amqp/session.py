"""The Trio half of a session: what the service sees of RabbitMQ."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from time import monotonic

import trio

from broker.amqp.asyncio_session import AsyncioSession
from broker.amqp.border import Border
from broker.amqp.delivery import Deliveries, Delivery, Settlement
from broker.amqp.handoff import Handoff
from broker.amqp.queue_history import QueueCounts
from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.publishing import Publishing


class Session:
    """An open session. Made by `Rabbit.open_session`."""

    def __init__(self, border: Border[AsyncioSession], drain_timeout: float) -> None:
        self._border = border
        self._asyncio = border.half
        self._drain_timeout = drain_timeout

    @property
    def product(self) -> str:
        """What is at the other end, such as `RabbitMQ 3.10.8`, as it calls itself."""
        return self._asyncio.publishing.product

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ takes no messages because of an alarm, as of a second ago at most."""
        return self._asyncio.publishing.is_blocked

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that RabbitMQ has a consumer of this session for."""
        return self._asyncio.consumers.consumed

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Why RabbitMQ does not let queues and exchanges be published to, by name."""
        return self._asyncio.unavailable

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many deliveries wait until RabbitMQ takes what was decided, by queue."""
        return self._asyncio.consumers.on_hold

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by the queue or exchange they go to."""
        return self._asyncio.consumers.tried_again

    @property
    def overdue(self) -> int:
        """How many messages RabbitMQ neither takes nor refuses, although it answers."""
        return self._asyncio.publishing.overdue

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return self._asyncio.consumers.in_flight

    @property
    def oldest_seconds(self) -> float | None:
        """How long ago the oldest of them arrived; None without any."""
        since = self._asyncio.consumers.oldest_since
        # asyncio's loops read the same clock.
        return None if since is None else monotonic() - since

    @property
    def counts(self) -> Mapping[str, QueueCounts]:
        """What RabbitMQ said last of the queues that are watched; nothing of those not shown."""
        return self._asyncio.watch.counts

    async def has_queue(self, queue: str) -> bool:
        """Return whether a queue exists, as far as RabbitMQ says so to this user.

        Raises:
            AmqpError: The session was lost.
        """
        return await self._border.call(self._asyncio.has_queue, queue)

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        """Publish, and return when RabbitMQ confirmed all of them.

        Cancelling it ends the session.

        Raises:
            UnroutableError: There is no queue for one of them, and it could not be created.
            AmqpError: The session was lost; which of them arrived is not known.
        """
        await self._border.call(self._asyncio.publish, publishings)

    async def consume(
        self,
        queue: str,
        take: Callable[[Deliveries], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Consume a queue until cancelled.

        When cancelled it stops consuming, and waits until all that arrived is settled and
        acknowledged; if that takes longer than the session's `drain_timeout`, the session ends.
        The queue may be consumed again afterwards.

        Args:
            take: Takes what arrived together, in Trio's thread but in no task, and does not wait:
                RabbitMQ sends no more than the prefetch before some are settled. What it raises is
                raised here, and nothing more is taken.
            task_status: Started once RabbitMQ has registered the consumer.

        Raises:
            QueueUnavailableError: RabbitMQ does not let the queue be consumed now, or not any
                more. What was unsettled is back in it. The session goes on.
            AmqpError: The session was lost.
        """
        border, half = self._border, self._asyncio
        failure: Exception | None = None
        failed = trio.Event()

        def publish(settlements: Sequence[Settlement]) -> None:
            border.post(half.publish_decided, consumer, settlements)

        def arrived(deliveries: Sequence[Delivery]) -> None:
            if failure is None:
                try:
                    take(Deliveries(queue, deliveries, publish))
                except Exception as error:  # noqa: BLE001 - raised by the task, which has a caller
                    lost(error)

        def lost(error: Exception) -> None:
            nonlocal failure
            failure = failure or error
            failed.set()

        # What is cancelled here is thrown away with its connection.
        consumer = await border.attempt(half.consumers.get, queue)
        with trio.CancelScope(shield=True):
            put = Handoff(border.wake, arrived).put
            await border.call(
                half.consumers.start, consumer, put, lambda error: border.wake(lost, error)
            )
        task_status.started()
        try:
            await failed.wait()
        except trio.Cancelled:
            with trio.move_on_after(self._drain_timeout, shield=True) as drain:
                await border.call(half.consumers.stop, consumer)
            if drain.cancelled_caught:
                border.end()
                raise AmqpError(f"deliveries of {queue!r} were not settled in time") from failure
            raise
        if failure is not None:
            raise failure
