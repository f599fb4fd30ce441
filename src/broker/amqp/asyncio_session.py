"""The asyncio half of a session: a publisher, and consumers with a connection each.

Delivery tags live and die with their channel, so everything that knows one lives in here. The loss
of any connection ends the whole session; nothing is patched. What RabbitMQ refuses about one queue
concerns that queue alone. It closes the channel, and for some refusals the connection: so each
consumer has its own, which goes with it and leaves no late frames to anybody.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import starmap
from typing import Any

import anyio
import structlog
from aiormq import Channel

from broker.amqp.admin.getter import QueueGetter
from broker.amqp.admin.mover import Mover
from broker.amqp.announcer import Announcer
from broker.amqp.availability import QueueAvailability
from broker.amqp.confinement import open_channel
from broker.amqp.confirm_watch import ConfirmWatch
from broker.amqp.connection import Connection
from broker.amqp.consumer import QueueConsumer
from broker.amqp.consumers import Consumers
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.declarations import Declarations
from broker.amqp.delivery import Delivery, Got, Publishing, Settlement
from broker.amqp.errors import (
    AmqpError,
    describe,
    translated,
)
from broker.amqp.notices import Notices
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.renewal import Renewal
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.suspects import SuspectPublisher
from broker.concurrency.error_groups import first_error

_WATCH_INTERVAL = 1.0

_log = structlog.get_logger(__name__)


class AsyncioSession:
    """Everything that is open while a session lives.

    Made anywhere; its methods run in the asyncio event loop.

    Attributes:
        is_blocked: Whether RabbitMQ takes no messages because of an alarm, as of a second ago at
            most.
    """

    def __init__(self, parameters: SessionParameters) -> None:
        self._parameters = parameters
        self._end = asyncio.Event()
        self._error: AmqpError | None = None
        self._connections: list[Connection] = []
        self._consumers: Consumers | None = None
        self._confirms: ConfirmWatch | None = None
        self._getting: Connection | None = None
        self._getters: dict[str, QueueGetter] = {}
        self._declarations = Declarations(self._new_connection)
        self._availability = QueueAvailability(self._spawn, self._declarations.create_missing)
        self._announcer: Announcer | None = None
        self.is_blocked = False

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that are consumed now. Another thread may ask, too."""
        return frozenset() if self._consumers is None else self._consumers.consumed

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet. Another thread may ask, too."""
        return 0 if self._consumers is None else self._consumers.in_flight

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many of them wait for long, by queue. Another thread may ask, too."""
        return {} if self._consumers is None else self._consumers.on_hold

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by where they go."""
        return {} if self._consumers is None else self._consumers.tried_again

    @property
    def overdue(self) -> int:
        """How many messages RabbitMQ leaves without an answer. Another thread may ask, too."""
        return 0 if self._confirms is None else self._confirms.overdue

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Why queues and exchanges take no messages, by name. Another thread may ask, too."""
        problems = dict(self._availability.problems)
        announcing = None if self._announcer is None else self._announcer.problem
        if announcing is not None:
            problems |= dict.fromkeys(self._parameters.fanouts, announcing)
        return problems

    async def run(self, opened: Callable[[], None]) -> None:
        """Open the session, keep it open until it ends, close it.

        Args:
            opened: Called once the session is usable.

        Raises:
            AmqpError: It could not be opened, or it was lost.
        """
        self._notices = Notices(self._parameters.tally)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._open(opened))
                await self._end.wait()
                # Leaving with an error is how the tasks of the group are cancelled.
                raise self._error or AmqpError("the session has ended")
        except* AmqpError as errors:
            self.fail(first_error(errors))
        finally:
            self._end.set()
            self._notices.flush()
            with anyio.CancelScope(shield=True):
                closing = [connection.close() for connection in self._connections]
                if self._announcer is not None:
                    closing.append(self._announcer.close())
                if self._consumers is not None:
                    closing.append(self._consumers.close())
                await asyncio.gather(*closing)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Ask the session to end. All who wait for an answer are released."""
        self._end.set()

    def fail(self, error: AmqpError) -> None:
        """End the session for a reason; the first one counts."""
        if not self._end.is_set():
            self._error = error
        self._end.set()

    async def while_alive[**P, T](
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Await a call, but not longer than the session lives.

        Raises:
            AmqpError: The session ended meanwhile, or the call raised it.
        """
        call = asyncio.ensure_future(function(*args, **kwargs))
        ended = asyncio.ensure_future(self._end.wait())
        try:
            await asyncio.wait([call, ended], return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
        finally:
            ended.cancel()
            call.cancel()
            # Nobody is left to hear what it raises; asyncio would log that as a bug.
            call.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise self._error or AmqpError("the session has ended")

    async def consumer(self, queue: str) -> QueueConsumer:
        """Return the consumer of a queue; see `Consumers.get`."""
        return await self._opened_consumers.get(queue)

    async def start(
        self,
        consumer: QueueConsumer,
        deliver: Callable[[list[Delivery]], None],
        on_loss: Callable[[AmqpError], None],
    ) -> None:
        """Let a consumer consume; see `Consumers.start`."""
        await self._opened_consumers.start(consumer, deliver, on_loss)

    async def stop(self, consumer: QueueConsumer) -> None:
        """Stop a consumer once it has settled all; see `Consumers.stop`."""
        await self._opened_consumers.stop(consumer)

    def publish_decided(self, consumer: QueueConsumer, settlements: Sequence[Settlement]) -> None:
        """Publish what was decided; see `QueueConsumer.publish`. A failure ends the session."""
        try:
            consumer.publish(settlements)
        except Exception as error:  # noqa: BLE001 - nobody waits for this call
            _log.exception("publishing_failed")
            self.fail(AmqpError(f"publishing failed: {describe(error)}"))

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        """Publish, and return when all are confirmed.

        Raises:
            UnroutableError: There is no queue for one of them.
            AmqpError: The session was lost; which of them arrived is not known.
        """
        outcomes = await self.publish_once(publishings)
        again = zip(publishings, outcomes, strict=True)
        await asyncio.gather(*starmap(self._publisher.publish_again, again))

    async def publish_once(self, publishings: Sequence[Publishing]) -> Sequence[PublishOutcome]:
        """Publish, and return what RabbitMQ made of each, without another try.

        Raises:
            AmqpError: The session was lost; which of them arrived is not known.
        """
        loop = asyncio.get_running_loop()
        outcomes: list[asyncio.Future[PublishOutcome]] = [loop.create_future() for _ in publishings]
        self._publisher.submit(
            (publishing, partial(_set, outcome))
            for publishing, outcome in zip(publishings, outcomes, strict=True)
        )
        return await asyncio.gather(*outcomes)

    async def publish_apart(self, publishing: Publishing) -> PublishOutcome:
        """Publish as a suspect; see `SuspectPublisher.publish`."""
        return await self._suspects.publish(publishing)

    async def renew(self, queue: str, messages: Sequence[Got]) -> Sequence[Got]:
        """Publish messages anew to their queue; see `Session.renew`."""
        renewed = [
            message
            for message in messages
            # RabbitMQ may have taken it when its limits were others.
            if await self._renewal.renew(queue, message.raw_properties, message.body, apart=True)
        ]
        await self.acknowledge(queue, renewed)
        return renewed

    async def get(self, queue: str, count: int) -> Sequence[Got]:
        """Ask a queue for messages; see `QueueGetter.get`. One call for a queue at a time.

        Raises:
            AmqpError: RabbitMQ refused or did not answer in time.
        """
        with translated(f"reading {queue!r}"):
            return await (await self._getter(queue)).get(count)

    async def acknowledge(self, queue: str, messages: Sequence[Got]) -> None:
        """Acknowledge what `get` returned; see `QueueGetter.acknowledge`.

        Raises:
            AmqpError: RabbitMQ did not answer in time.
        """
        with translated(f"removing messages from {queue!r}"):
            await (await self._getter(queue)).acknowledge(messages)

    async def queue_tools(self) -> tuple[Mover, Connection]:
        """Open what moves messages, and a connection for requests that may be refused.

        Raises:
            AmqpError: RabbitMQ refused or did not answer in time.
        """
        declaring, moving = await self._connect("declare"), await self._connect("move")
        channel = await self._channel(moving, publisher_confirms=True)
        return Mover(moving, channel, moving.user), declaring

    async def _open(self, opened: Callable[[], None]) -> None:
        await self._declarations.ensure(
            self._parameters.queues, self._parameters.fanouts, self._availability.refused
        )
        self._publishing = await self._connect("publish")
        channel = await self._channel(self._publishing, publisher_confirms=True)
        for closing in (channel.closing, self._publishing.aiormq.closing):
            closing.add_done_callback(self._learn)
        self._publisher = self._new_publisher(self._publishing, channel)
        refusals, fanouts = self._parameters.refusals, self._parameters.fanouts
        self._suspects = SuspectPublisher(self._connect_apart, self._new_publisher, refusals)
        self._renewal = Renewal(self._publisher, self._suspects, refusals)
        if fanouts:
            self._announcer = Announcer(
                self._new_connection, fanouts, self._new_publisher, refusals
            )
            self._tasks.create_task(self._announcer.run())
        self._consumers = Consumers(
            connect=self._new_connection,
            fanouts=fanouts,
            prefetch=self._parameters.prefetch,
            fail=self.fail,
            new_consumer=partial(
                QueueConsumer,
                publisher=self._publisher,
                announcer=self._announcer,
                dead_lettering=DeadLettering(
                    self._publisher, self._suspects, refusals, self._parameters.observer
                ),
                renewal=self._renewal,
                notices=self._notices,
                tasks=self._tasks,
                observer=self._parameters.observer,
            ),
        )
        self._tasks.create_task(self._watch())
        opened()

    def _learn(self, closing: "asyncio.Future[None]") -> None:
        reason = None if closing.cancelled() else closing.exception()
        if reason is not None:
            self._parameters.refusals.learn(reason)

    def _new_publisher(self, connection: Connection, channel: Channel) -> Publisher:
        publisher = Publisher(
            channel, connection.writer, self._availability.wait, self._parameters.tally
        )
        connection.add_sink(channel.number, publisher)
        watch = ConfirmWatch(publisher)
        if connection is self._publishing:
            self._confirms = watch
        self._tasks.create_task(watch.run(connection, partial(self._noticed, connection)))
        return publisher

    def _noticed(self, connection: Connection, is_blocked: bool) -> None:
        if connection is self._publishing:
            self.is_blocked = is_blocked

    @property
    def _opened_consumers(self) -> Consumers:
        if self._consumers is None:
            raise AmqpError("the session is not open")
        return self._consumers

    def _spawn(self, task: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        return self._tasks.create_task(task)

    def _new_connection(self, purpose: str) -> Connection:
        parameters = self._parameters
        return Connection(
            parameters.endpoint,
            name=f"{parameters.name} {purpose}",
            tls=parameters.tls,
            nodes=parameters.nodes,
        )

    async def _connect(self, purpose: str) -> Connection:
        connection = self._new_connection(purpose)
        self._connections.append(connection)
        await connection.open()
        self._end_with(connection.aiormq.closing)
        return connection

    async def _connect_apart(self) -> Connection:
        connection = self._new_connection("suspects")
        self._connections.append(connection)
        await connection.open()
        return connection

    async def _getter(self, queue: str) -> QueueGetter:
        getter = self._getters.get(queue)
        if getter is None:
            if self._getting is None:
                self._getting = await self._connect("get")
            channel = await self._channel(self._getting, publisher_confirms=False)
            getter = self._getters[queue] = QueueGetter(queue, channel, self._getting.writer)
            self._getting.add_taker(channel.number, getter)
        return getter

    async def _channel(self, connection: Connection, *, publisher_confirms: bool) -> Channel:
        channel = await open_channel(connection, publisher_confirms=publisher_confirms)
        self._end_with(channel.closing)
        return channel

    def _end_with(self, closing: "asyncio.Future[None]") -> None:
        def closed(future: "asyncio.Future[None]") -> None:
            reason = None if future.cancelled() else future.exception()
            self.fail(AmqpError(describe(reason or ConnectionError("the connection was lost"))))

        closing.add_done_callback(closed)

    async def _watch(self) -> None:
        fanouts = self._parameters.fanouts
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            self._opened_consumers.hold_overdue()
            self._availability.waiting([one for one in self.tried_again if one not in fanouts])


def _set[T](future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():  # whoever waited may have been cancelled
        future.set_result(result)
