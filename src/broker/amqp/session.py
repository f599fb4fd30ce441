"""The Trio half of a session: what the rest of the broker sees of RabbitMQ.

The other half runs in an asyncio event loop in a thread of its own. Rare calls go there through
AnyIO's portal, the stream of deliveries and settlements through one thread-safe hand-off a batch.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
from anyio.from_thread import BlockingPortal

from broker.amqp.admin.queues import Queues
from broker.amqp.asyncio_session import AsyncioSession
from broker.amqp.delivery import Deliveries, Delivery, Got, Publishing, Settlement
from broker.amqp.errors import AmqpError
from broker.amqp.handoff import Handoff
from broker.amqp.publisher import PublishOutcome
from broker.amqp.session_parameters import SessionParameters
from broker.concurrency.error_groups import first_error


class SessionLostError(AmqpError):
    """The session could not be opened, or it was lost. Open a new one."""


@asynccontextmanager
async def open_session(
    portal: BlockingPortal, parameters: SessionParameters
) -> AsyncIterator["Session"]:
    """Open a session with RabbitMQ, and close it at the end of the block.

    The block is cancelled when the session is lost. When the block ends or is cancelled, the
    connections are closed within three seconds, whatever RabbitMQ does; deliveries that are not
    settled by then return to their queues.

    Args:
        portal: The asyncio event loop that hosts the other half.
        parameters: What to connect to, and how.

    Raises:
        SessionLostError: The session could not be opened, or it was lost.
    """
    lost: BaseExceptionGroup[AmqpError] | None = None
    try:
        async with trio.open_nursery() as nursery:
            loop = await portal.call_async(asyncio.get_running_loop)
            session = Session(portal, loop, parameters)
            nursery.start_soon(session.run)
            try:
                await session.opened.wait()
                yield session
            finally:
                session.end()
    except* AmqpError as errors:
        lost = errors
    if lost is not None:
        raise SessionLostError(str(first_error(lost))) from lost


class Session:
    """An open session. Made by `open_session`."""

    def __init__(
        self,
        portal: BlockingPortal,
        loop: asyncio.AbstractEventLoop,
        parameters: SessionParameters,
    ) -> None:
        self._portal = portal
        self._loop = loop
        self._asyncio = AsyncioSession(parameters)
        self._drain_timeout = parameters.drain_timeout
        self._token = trio.lowlevel.current_trio_token()
        self.opened = trio.Event()

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ takes no messages because of an alarm, as of a second ago at most."""
        return self._asyncio.is_blocked

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that RabbitMQ has a consumer of this session for."""
        return self._asyncio.consumed

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Why RabbitMQ does not let queues and exchanges be published to, by name."""
        return self._asyncio.unavailable

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many deliveries wait until RabbitMQ takes what was decided, by queue."""
        return self._asyncio.on_hold

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by the queue or exchange they go to."""
        return self._asyncio.tried_again

    @property
    def overdue(self) -> int:
        """How many messages RabbitMQ neither takes nor refuses, although it answers."""
        return self._asyncio.overdue

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return self._asyncio.in_flight

    async def run(self) -> None:
        """Host the other half until it has ended. Not cancelled but asked to end: see `end`.

        Raises:
            AmqpError: The session could not be opened, or it was lost.
        """
        opened = partial(self._token.run_sync_soon, self.opened.set)
        with trio.CancelScope(shield=True):
            await self._portal.call_async(self._asyncio.run, opened)

    def end(self) -> None:
        """Ask the other half to end. All calls under way are released; does not wait."""
        self._loop.call_soon_threadsafe(self._asyncio.end)

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        """Publish, and return when RabbitMQ confirmed all of them.

        Cancelling it ends the session.

        Raises:
            UnroutableError: There is no queue for one of them, and it could not be created.
            AmqpError: The session was lost; which of them arrived is not known.
        """
        await self._call(self._asyncio.publish, publishings)

    async def publish_once(self, publishings: Sequence[Publishing]) -> Sequence[PublishOutcome]:
        """Publish, and return what RabbitMQ made of each; for those who can say so to a person.

        Unlike `publish` it does not try again, and creates no queue. Cancelling it ends the
        session.

        Raises:
            AmqpError: The session was lost; which of them arrived is not known.
        """
        return await self._call(self._asyncio.publish_once, publishings)

    async def publish_apart(self, publishing: Publishing) -> PublishOutcome:
        """Publish on a connection of its own, and return what RabbitMQ made of it.

        It is for a message at which RabbitMQ may close the channel, which leaves the session alone.
        Otherwise as `publish_once`.

        Raises:
            PublishingRefusedError: RabbitMQ closed the channel because of it.
            AmqpError: The session was lost; whether it arrived is not known.
        """
        return await self._call(self._asyncio.publish_apart, publishing)

    async def get(self, queue: str, count: int) -> Sequence[Got]:
        """Ask a queue for its oldest messages that nobody else holds.

        What is not acknowledged is held until the session ends, and then returns to its place in
        the queue. Cancelling it ends the session.

        Args:
            queue: The queue; only one call for it at a time.
            count: How many at most.

        Returns:
            As many as were there, oldest first.

        Raises:
            AmqpError: There is no such queue, or the session was lost.
        """
        return await self._call(self._asyncio.get, queue, count)

    async def renew(self, queue: str, messages: Sequence[Got]) -> Sequence[Got]:
        """Publish messages that `get` returned to the end of their queue, and remove them.

        Cancelling it ends the session, and may leave both in the queue.

        Returns:
            Those that RabbitMQ took; a queue that is full takes none.

        Raises:
            AmqpError: The session was lost; likewise.
        """
        return await self._call(self._asyncio.renew, queue, messages)

    async def acknowledge(self, queue: str, messages: Sequence[Got]) -> None:
        """Remove messages that `get` returned; RabbitMQ has done it on return.

        Cancelling it ends the session, and leaves open which of them are gone.

        Raises:
            AmqpError: The session was lost; likewise.
        """
        await self._call(self._asyncio.acknowledge, queue, messages)

    async def queues(self) -> Queues:
        """Open what looks at queues, and can make, empty and remove them.

        It lives as long as the session. Cancelling it, or a call of it, ends the session.

        Raises:
            AmqpError: RabbitMQ refused, or the session was lost.
        """
        return Queues(self._call, *await self._call(self._asyncio.queue_tools))

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
            queue: The queue.
            take: Takes what arrived together, in Trio's thread but in no task, and does not wait:
                RabbitMQ sends no more than the prefetch before some are settled. What it raises is
                raised here, and nothing more is taken.
            task_status: Started once RabbitMQ has registered the consumer.

        Raises:
            QueueUnavailableError: RabbitMQ does not let the queue be consumed now, or not any
                more. What was unsettled is back in it. The session goes on.
            AmqpError: The session was lost.
        """
        failure: Exception | None = None
        failed = trio.Event()

        def publish(settlements: Sequence[Settlement]) -> None:
            self._loop.call_soon_threadsafe(self._asyncio.publish_decided, consumer, settlements)

        def arrived(deliveries: Sequence[Delivery]) -> None:
            nonlocal failure
            if failure is None:
                try:
                    take(Deliveries(queue, deliveries, publish))
                except Exception as error:  # noqa: BLE001 - raised by the task, which has a caller
                    failure = error
                    failed.set()

        def lost(error: Exception) -> None:
            nonlocal failure
            failure = failure or error
            failed.set()

        def on_loss(error: AmqpError) -> None:
            self._wake(partial(lost, error))

        # What is cancelled here is thrown away with its connection.
        consumer = await self._try(self._asyncio.consumer, queue)
        with trio.CancelScope(shield=True):
            put = Handoff(self._wake, arrived).put
            await self._call(self._asyncio.start, consumer, put, on_loss)
        task_status.started()
        try:
            await failed.wait()
        except trio.Cancelled:
            with trio.move_on_after(self._drain_timeout, shield=True) as drain:
                await self._call(self._asyncio.stop, consumer)
            if drain.cancelled_caught:
                self.end()
                raise AmqpError(f"deliveries of {queue!r} were not settled in time") from failure
            raise
        if failure is not None:
            raise failure

    def _wake(self, hand_over: Callable[[], None]) -> None:
        # Nobody is left to take anything once Trio has finished.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(hand_over)

    async def _call[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        try:
            return await self._try(function, *args)
        except trio.Cancelled:
            # aiormq closes the channel of a call that is cancelled, and its outcome is unknown.
            self.end()
            raise

    async def _try[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        return await self._portal.call_async(self._asyncio.while_alive, function, *args)
