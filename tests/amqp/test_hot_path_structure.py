"""What makes the hot path fast, without timing anything: nothing of it grows with the messages.

Messages that travel together share one wake-up of each thread, one write and one acknowledgement,
and none of them has a task or a future of its own.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

import pamqp.frame
import pytest
import trio
from aiormq import Channel
from anyio.from_thread import BlockingPortal
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

from broker.amqp import AmqpError, Deliveries, Rabbit, Session
from broker.amqp.consumer import QueueConsumer
from broker.amqp.delivery import Delivery, Settlement
from broker.amqp.lifetime import Lifetime
from broker.amqp.wire.publishing import Publishing
from tests.amqp.fake_rabbitmq import QUEUE, FakeRabbitmq
from tests.amqp.in_asyncio import in_asyncio

FEW, MANY = 10, 200
PATIENCE = 30.0


class Consumer(QueueConsumer):
    async def stop(self) -> None:
        """Do nothing: the fake knows no `basic.cancel`."""


class HalfSession:
    """The consumer and the publisher of a session, fed with chunks as from a network."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.rabbitmq = FakeRabbitmq()
        tasks.create_task(self.rabbitmq.serve())
        self.consumer = self.rabbitmq.consumer(self.rabbitmq.publisher(), tasks, kind=Consumer)

    def deliver(self, count: int) -> None:
        """Let so many messages arrive in one chunk."""
        self._feed(
            self.rabbitmq.consuming,
            *(
                frame
                for tag in range(1, count + 1)
                for frame in (
                    Basic.Deliver("consumer", tag, routing_key=QUEUE),
                    ContentHeader(body_size=4),
                    ContentBody(b"body"),
                )
            ),
        )

    def confirm_each(self, count: int) -> None:
        """Let so many confirms, one for each message, arrive in one chunk."""
        self._feed(self.rabbitmq.publishing, *(Basic.Ack(number) for number in range(1, count + 1)))

    def _feed(self, channel: Channel, *frames: FrameTypes) -> None:
        marshalled = (pamqp.frame.marshal(frame, channel.number) for frame in frames)
        self.rabbitmq.reader.feed_data(b"".join(marshalled))

    async def written(self, writes: int) -> None:
        """Wait for so many writes, and make sure that no more come."""
        while self.rabbitmq.events < writes:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)


@asynccontextmanager
async def half_session() -> AsyncIterator[HalfSession]:
    before = asyncio.all_tasks()
    async with asyncio.TaskGroup() as tasks:
        try:
            yield HalfSession(tasks)
        finally:
            # Those of the channels are among them.
            own = asyncio.all_tasks() - before
            for task in own:
                task.cancel()
    await asyncio.wait(own)


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts tasks and futures."""

    tasks = futures = 0

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        self.tasks += 1
        return super().create_task(coro, **options)

    def create_future(self) -> asyncio.Future[Any]:
        self.futures += 1
        return super().create_future()


@dataclass(frozen=True)
class Cost:
    """What a chunk of messages takes on its whole way."""

    batches: int
    writes: int
    tasks: int
    futures: int
    acknowledgements: Sequence[tuple[int, bool]]


def cost(count: int) -> Cost:
    """Take so many messages from their delivery to their acknowledgement."""
    loop = CountingLoop()
    batches: list[Sequence[Delivery]] = []

    async def settle_all() -> Cost:
        async with half_session() as half:

            def arrived(deliveries: Sequence[Delivery]) -> None:
                batches.append(deliveries)
                half.consumer.publish([published(delivery) for delivery in deliveries])

            await half.consumer.start(arrived)
            before, futures, created = half.rabbitmq.events, loop.futures, loop.tasks
            half.deliver(count)
            await half.written(before + 1)
            assert len(half.rabbitmq.published) == count
            half.confirm_each(count)
            await half.written(before + 2)
            return Cost(
                len(batches),
                half.rabbitmq.events - before,
                loop.tasks - created,
                loop.futures - futures,
                half.rabbitmq.acknowledgements,
            )

    try:
        return loop.run_until_complete(settle_all())
    finally:
        loop.close()


def published(delivery: Delivery) -> Settlement:
    return Settlement(delivery, Publishing("output", delivery.body, "app"))


def test_nothing_grows_with_the_messages_that_arrive_together() -> None:
    few, many = cost(FEW), cost(MANY)

    assert many.batches == 1
    assert many.writes == 2  # all publishings, and the acknowledgement
    assert many.acknowledgements == [(MANY, True)]
    assert many.tasks == few.tasks == 0
    assert many.futures == few.futures


@in_asyncio
async def test_a_message_that_comes_alone_waits_for_no_turn_of_the_event_loop() -> None:
    async with half_session() as half:

        def arrived(deliveries: Sequence[Delivery]) -> None:
            half.consumer.publish([published(delivery) for delivery in deliveries])

        await half.consumer.start(arrived)
        half.deliver(1)
        assert half.rabbitmq.unread == 1


class UnconnectedSession:
    """The asyncio half of a session, without a network."""

    def __init__(self, half: HalfSession) -> None:
        self.half = half

    @classmethod
    async def open(cls, lifetime: Lifetime) -> Self:
        opened: asyncio.Future[HalfSession] = asyncio.get_running_loop().create_future()

        async def keep() -> None:
            async with half_session() as half:
                opened.set_result(half)
                await asyncio.Event().wait()

        lifetime.tasks.create_task(keep())
        return cls(await opened)

    @property
    def consumers(self) -> Self:
        return self

    async def get(self, _: str) -> QueueConsumer:
        return self.half.consumer

    async def start(
        self,
        consumer: QueueConsumer,
        deliver: Callable[[list[Delivery]], None],
        on_loss: Callable[[AmqpError], None],
    ) -> None:
        await consumer.start(deliver, on_loss)

    async def stop(self, consumer: QueueConsumer) -> None:
        await consumer.drained()

    def publish_decided(self, consumer: QueueConsumer, settlements: Sequence[Settlement]) -> None:
        consumer.publish(settlements)


class Crossings:
    """Counts what crosses the border between the two threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.to_trio = self.to_asyncio = 0
        self._trio_thread = threading.get_ident()
        wake_trio = trio.lowlevel.TrioToken.run_sync_soon
        wake_asyncio = asyncio.BaseEventLoop.call_soon_threadsafe

        def count_to_trio(*args: Any, **options: Any) -> None:
            self.to_trio += threading.get_ident() != self._trio_thread
            wake_trio(*args, **options)

        def count_to_asyncio(*args: Any, **options: Any) -> asyncio.Handle:
            self.to_asyncio += threading.get_ident() == self._trio_thread
            return wake_asyncio(*args, **options)

        monkeypatch.setattr(trio.lowlevel.TrioToken, "run_sync_soon", count_to_trio)
        monkeypatch.setattr(asyncio.BaseEventLoop, "call_soon_threadsafe", count_to_asyncio)


async def test_a_batch_wakes_each_thread_once(
    portal: BlockingPortal, rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Sequence[Delivery]] = []
    settled = trio.Event()

    def take(arrived: Deliveries) -> None:
        batches.append(arrived.deliveries)
        arrived.publish([published(delivery) for delivery in arrived.deliveries])
        settled.set()

    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            border = await stack.enter_async_context(rabbit.hosted(UnconnectedSession.open))
            session = Session(cast("Any", border), PATIENCE)
            nursery = await stack.enter_async_context(trio.open_nursery())
            await nursery.start(session.consume, QUEUE, take)
            half = border.half.half
            loop = await portal.call_async(asyncio.get_running_loop)
            crossings = Crossings(monkeypatch)

            loop.call_soon_threadsafe(half.deliver, MANY)
            await settled.wait()
            crossed = crossings.to_trio, crossings.to_asyncio

            await portal.call_async(half.written, 2)
            await portal.call_async(half.confirm_each, MANY)
            nursery.cancel_scope.cancel()

    assert [len(batch) for batch in batches] == [MANY]
    assert crossed == (1, 2)  # the second is the test's own, which let the chunk arrive
