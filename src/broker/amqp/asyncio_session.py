"""The asyncio half of a session: two connections, a publisher, a consumer for each queue.

Delivery tags live and die with their channel, so everything that knows one lives in here. Trouble
with any channel or connection ends the whole session; nothing is patched.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import starmap
from typing import cast

import anyio
import msgspec
import structlog
from aiormq import Channel

from broker.amqp.confirm_watch import watch_confirms
from broker.amqp.connection import Connection
from broker.amqp.consumer import QueueConsumer
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.delivery import Got, Publishing, Settlement
from broker.amqp.errors import AmqpError, describe, translated
from broker.amqp.getter import QueueGetter
from broker.amqp.mover import Mover
from broker.amqp.notices import Notices
from broker.amqp.publisher import Outcome, Publisher
from broker.amqp.refusals import Refusals
from broker.amqp.renewal import Renewal
from broker.amqp.suspects import SuspectPublisher
from broker.amqp.topology import RPC_TIMEOUT, ensure_fanouts, ensure_queues, listen
from broker.endpoints import AmqpEndpoint
from broker.error_groups import first_error
from broker.observe.tally import PublishTally
from broker.settings.amqp_nodes import AmqpNodes
from broker.tls import TlsFiles

_log = structlog.get_logger(__name__)


class SessionParameters(msgspec.Struct, frozen=True):
    """How to open a session.

    Attributes:
        endpoint: The RabbitMQ node.
        name: Names the connections in RabbitMQ's own listings.
        queues: Queues that must exist; those that do not are created.
        fanouts: Fanout exchanges, likewise. Each can be consumed like a queue of its name, and
            gives then what is published to it from that moment on.
        prefetch: Unacknowledged deliveries held at once, per consumer.
        drain_timeout: Seconds that a consumer which stops waits for its last settlements.
        tls: The files for an endpoint with TLS, read again for each connection.
        nodes: Where the login is read again for each connection, if it may change.
        tally: Counts what becomes of the publishings.
        refusals: What RabbitMQ is known not to take.
    """

    endpoint: AmqpEndpoint
    name: str
    queues: tuple[str, ...] = ()
    fanouts: tuple[str, ...] = ()
    prefetch: int = 1000
    drain_timeout: float = 20.0
    tls: TlsFiles = TlsFiles()
    nodes: AmqpNodes | None = None
    tally: PublishTally = msgspec.field(default_factory=PublishTally)
    refusals: Refusals = msgspec.field(default_factory=Refusals)


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
        self._consumers: dict[str, QueueConsumer] = {}
        self._getters: dict[str, QueueGetter] = {}
        self._recreations: dict[str, asyncio.Task[None]] = {}
        self.is_blocked = False

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that are consumed now. Another thread may ask, too."""
        consumers = tuple(self._consumers.items())
        return {queue for queue, consumer in consumers if consumer.is_consuming}

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet. Another thread may ask, too."""
        return sum(consumer.in_flight for consumer in tuple(self._consumers.values()))

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
                await asyncio.gather(*(connection.close() for connection in self._connections))
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
        """Return the consumer of a queue, which consumes once it is started.

        Raises:
            AmqpError: RabbitMQ refused or did not answer in time.
        """
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = await self._new_consumer(queue)
            self._consumers[queue] = consumer
        return consumer

    def settle(self, consumer: QueueConsumer, settlements: Sequence[Settlement]) -> None:
        """Settle deliveries; see `QueueConsumer.settle`. A failure ends the session."""
        try:
            consumer.settle(settlements)
        except Exception as error:  # noqa: BLE001 - nobody waits for this call
            _log.exception("settling_failed")
            self.fail(AmqpError(f"settling failed: {describe(error)}"))

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        """Publish, and return when all are confirmed.

        Raises:
            UnroutableError: There is no queue for one of them.
            AmqpError: The session was lost; which of them arrived is not known.
        """
        outcomes = await self.publish_once(publishings)
        again = zip(publishings, outcomes, strict=True)
        await asyncio.gather(*starmap(self._publisher.publish_again, again))

    async def publish_once(self, publishings: Sequence[Publishing]) -> Sequence[Outcome]:
        """Publish, and return what RabbitMQ made of each, without another try.

        Raises:
            AmqpError: The session was lost; which of them arrived is not known.
        """
        loop = asyncio.get_running_loop()
        outcomes: list[asyncio.Future[Outcome]] = [loop.create_future() for _ in publishings]
        self._publisher.submit(
            (publishing, partial(_set, outcome))
            for publishing, outcome in zip(publishings, outcomes, strict=True)
        )
        return await asyncio.gather(*outcomes)

    async def publish_apart(self, publishing: Publishing) -> Outcome:
        """Publish as a suspect; see `SuspectPublisher.publish`."""
        return await self._suspects.publish(publishing)

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

    async def renew(self, queue: str, messages: Sequence[Got]) -> Sequence[Got]:
        """Publish messages anew to their queue; see `Session.renew`."""
        renewed = [
            message
            for message in messages
            if await self._renewal.renew(queue, message.raw_properties, message.body)
        ]
        await self.acknowledge(queue, renewed)
        return renewed

    async def queue_tools(self) -> tuple[Mover, Connection]:
        """Open what moves messages, and a connection for requests that may be refused.

        Raises:
            AmqpError: RabbitMQ refused or did not answer in time.
        """
        declaring, moving = await self._connect("declare"), await self._connect("move")
        channel = await self._channel(moving, publisher_confirms=True)
        return Mover(moving, channel, moving.user), declaring

    async def _open(self, opened: Callable[[], None]) -> None:
        await self._ensure(self._parameters.queues, self._parameters.fanouts)
        self._consuming = await self._connect("consume")
        self._publishing = await self._connect("publish")
        channel = await self._channel(self._publishing, publisher_confirms=True)
        for closing in (channel.closing, self._publishing.aiormq.closing):
            closing.add_done_callback(self._learn)
        self._publisher = self._new_publisher(self._publishing, channel)
        refusals = self._parameters.refusals
        self._suspects = SuspectPublisher(self._connect_apart, self._new_publisher, refusals)
        self._dead_lettering = DeadLettering(self._publisher, self._suspects, refusals)
        self._renewal = Renewal(self._publisher, self._suspects, refusals)
        opened()

    def _learn(self, closing: "asyncio.Future[None]") -> None:
        reason = None if closing.cancelled() else closing.exception()
        if reason is not None:
            self._parameters.refusals.learn(reason)

    def _new_publisher(self, connection: Connection, channel: Channel) -> Publisher:
        publisher = Publisher(channel, connection.writer, self._recreate, self._parameters.tally)
        connection.add_sink(channel.number, publisher)
        self._tasks.create_task(
            watch_confirms(connection, publisher, partial(self._noticed, connection))
        )
        return publisher

    def _noticed(self, connection: Connection, is_blocked: bool) -> None:
        if connection is self._publishing:
            self.is_blocked = is_blocked

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

    async def _ensure(self, queues: Sequence[str], fanouts: Sequence[str] = ()) -> None:
        connection = self._new_connection("declare")
        try:
            await connection.open()
            await ensure_queues(connection, queues)
            await ensure_fanouts(connection, fanouts)
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()

    async def _recreate(self, queue: str) -> None:
        # Many messages come back at once when their queue is gone; one connection serves them all.
        with translated(f"creating queue {queue!r}"):
            task = self._recreations.get(queue)
            if task is None:
                task = self._tasks.create_task(self._ensure([queue]))
                self._recreations[queue] = task
                task.add_done_callback(lambda _: self._recreations.pop(queue))
            await asyncio.shield(task)

    async def _new_consumer(self, queue: str) -> QueueConsumer:
        channel = await self._channel(self._consuming, publisher_confirms=False)
        with translated(f"setting the prefetch of {queue!r}"):
            await channel.basic_qos(prefetch_count=self._parameters.prefetch, timeout=RPC_TIMEOUT)
        is_fanout = queue in self._parameters.fanouts
        consumer = QueueConsumer(
            queue,
            channel,
            consumed=await listen(channel, queue) if is_fanout else queue,
            writer=self._consuming.writer,
            publisher=self._publisher,
            dead_lettering=self._dead_lettering,
            renewal=self._renewal,
            notices=self._notices,
            tasks=self._tasks,
            cancelled=self.fail,
        )
        self._consuming.add_sink(channel.number, consumer)
        return consumer

    async def _getter(self, queue: str) -> QueueGetter:
        getter = self._getters.get(queue)
        if getter is None:
            channel = await self._channel(self._consuming, publisher_confirms=False)
            getter = self._getters[queue] = QueueGetter(queue, channel, self._consuming.writer)
            self._consuming.add_taker(channel.number, getter)
        return getter

    async def _channel(self, connection: Connection, *, publisher_confirms: bool) -> Channel:
        with translated("opening a channel"):
            channel = await connection.aiormq.channel(
                publisher_confirms=publisher_confirms, timeout=RPC_TIMEOUT
            )
        self._end_with(channel.closing)
        return cast("Channel", channel)

    def _end_with(self, closing: "asyncio.Future[None]") -> None:
        def closed(future: "asyncio.Future[None]") -> None:
            reason = None if future.cancelled() else future.exception()
            self.fail(AmqpError(describe(reason or ConnectionError("the connection was lost"))))

        closing.add_done_callback(closed)


def _set[T](future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():  # whoever waited may have been cancelled
        future.set_result(result)
