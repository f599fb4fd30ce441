"""How many messages wait, as RabbitMQ says, without getting in the way of anything."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import structlog
import trio
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ConnectionInternalError,
)

from broker.amqp.connection import Connection
from broker.amqp.queue_history import QueueCounts
from broker.amqp.queue_watch import QueueWatch
from broker.amqp.wire.errors import AmqpError
from tests.amqp.in_asyncio import in_stopped_time, passes
from tests.amqp.rig import Rig
from tests.lab.amqp_connection import connect
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode

OFTEN = 0.05


async def test_messages_and_consumers_are_counted(rig: Rig) -> None:
    watched = dict.fromkeys((rig.input, "missing", rig.letters), OFTEN)
    async with rig.open(watched=watched) as session:
        counted = partial(eventually, lambda: dict(session.counts), "the counts")
        nothing = QueueCounts(0, 0)
        await counted(until=lambda seen: seen == {rig.input: nothing, rig.letters: nothing})
        await rig.raw.publish(rig.input, b"1", b"2")
        await counted(until=lambda seen: seen[rig.input] == QueueCounts(2, 0))
        await rig.raw.delete(rig.letters)
        await counted(until=lambda seen: rig.letters not in seen)
        await rig.raw.declare(rig.letters)
        await counted(until=lambda seen: seen.get(rig.letters) == nothing)


async def test_nothing_is_counted_unless_asked_for(rig: Rig) -> None:
    async with rig.open() as session:
        await rig.raw.publish(rig.input, b"1")
        assert not session.counts


async def test_whether_a_queue_exists(rig: Rig) -> None:
    async with rig.open() as session:
        assert await session.has_queue(rig.input)
        assert not await session.has_queue(f"{rig.input}-missing")
        assert not await session.has_queue(f"{rig.input}-missing"), "it was not created"


class Node:
    """RabbitMQ, as far as a watch sees it."""

    def __init__(self) -> None:
        self.messages: Mapping[str, int] = {"in": 1, "out": 2}
        self.refuses: Mapping[str, Exception] = {}
        self.connections: list[str] = []
        self.closed = 0
        self.lets_nobody_in: str | None = None
        self.looks: list[str] = []
        self.is_blocked = False
        self.is_lost = False

    @asynccontextmanager
    async def watched(self, **intervals: float) -> AsyncIterator[QueueWatch]:
        """Watch the queues for the length of the block, as a session does."""
        watch = QueueWatch(self.connect, intervals, lambda: self.is_blocked)
        running = asyncio.create_task(watch.run())
        await passes(0)
        yield watch
        assert not running.done(), "it would have ended the session"
        running.cancel()
        await asyncio.wait([running])
        await watch.close()

    def connect(self, purpose: str) -> Connection:
        self.connections.append(purpose)
        self.is_lost = False
        return cast("Connection", cast("Any", self))

    async def open(self) -> None:
        if self.lets_nobody_in is not None:
            raise AmqpError(self.lets_nobody_in)

    async def channel(self) -> "Node":
        if self.is_lost:
            raise ConnectionError("it is closed")
        return self

    async def queue_declare(self, queue: str, **options: Any) -> object:
        assert options["passive"]
        self.looks.append(queue)
        if self.is_lost:
            raise ConnectionError("it is lost")
        refusal = self.refuses.get(queue)
        if refusal is None:
            return SimpleNamespace(message_count=self.messages[queue], consumer_count=1)
        self.is_lost = isinstance(refusal, ConnectionInternalError)
        raise refusal

    async def close(self) -> None:
        self.closed += 1

    def looked_at(self, queue: str) -> int:
        """Return how often a queue was looked at since the last call."""
        count = self.looks.count(queue)
        self.looks = [one for one in self.looks if one != queue]
        return count


async def many_pass(seconds: int) -> None:
    for _ in range(seconds):
        await passes(1)


@in_stopped_time
async def test_each_queue_has_its_interval() -> None:
    node = Node()
    async with node.watched(**{"in": 3, "out": 1}) as watch:
        assert watch.counts == {"in": QueueCounts(1, 1), "out": QueueCounts(2, 1)}
        await many_pass(9)
        assert (node.looked_at("in"), node.looked_at("out")) == (4, 10)
    assert node.connections == ["look"]


@in_stopped_time
async def test_a_queue_that_is_not_shown_is_looked_at_ever_more_rarely() -> None:
    for refusal in (
        ChannelNotFoundEntity("NOT_FOUND"),
        ChannelAccessRefused("ACCESS_REFUSED"),
        ChannelLockedResource("RESOURCE_LOCKED"),
        TimeoutError(),
    ):
        node = Node()
        node.refuses = {"in": refusal}
        async with node.watched(**{"in": 3, "out": 3}) as watch:
            await many_pass(3_600)
            assert watch.counts.keys() == {"out"}
            assert node.looked_at("in") < 20
            assert node.looked_at("out") > 1_000
            node.refuses = {}
            await many_pass(301)
            assert watch.counts.keys() == {"in", "out"}
            node.looked_at("in")
            await many_pass(30)
            assert node.looked_at("in") == 10, "as often as before"
        assert node.connections == ["look"]


@in_stopped_time
async def test_a_queue_that_costs_the_connection_leaves_the_others_in_sight() -> None:
    node = Node()
    node.refuses = {"in": ConnectionInternalError("INTERNAL_ERROR")}
    async with node.watched(**{"in": 3, "out": 3}) as watch:
        sights = 0
        for _ in range(60):
            await many_pass(30)
            sights += watch.counts.keys() == {"out"}
        assert sights > 40, "in the others it connects anew"
        assert node.looked_at("in") < 15
        assert node.looked_at("out") > 100
    assert len(node.connections) < 20
    assert node.closed >= len(node.connections), "closing one twice does no harm"


@in_stopped_time
async def test_a_connection_that_is_refused_is_tried_again_and_told_once() -> None:
    node = Node()
    node.lets_nobody_in = "RabbitMQ takes no more connections"
    with structlog.testing.capture_logs() as lines:
        async with node.watched(**{"in": 3}) as watch:
            await many_pass(3_600)
            assert not watch.counts
            assert 5 < len(node.connections) < 80
            node.lets_nobody_in = None
            await many_pass(301)
            assert watch.counts.keys() == {"in"}
            node.is_lost, node.lets_nobody_in = True, "RabbitMQ takes no more connections"
            await many_pass(10)
            assert not watch.counts, "they are not those of now"
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert {line["event"] for line in warnings} == {"queue_watch_failed"}
    assert [line["error"] for line in warnings] == [
        "RabbitMQ takes no more connections",
        "looking at queue 'in': it is lost",
        "RabbitMQ takes no more connections",
    ]


@in_stopped_time
async def test_it_ends_when_cancelled_whatever_is_raised_in_its_place() -> None:
    class Hanging(Node):
        async def open(self) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise AmqpError("the writer is closed")

    watch = QueueWatch(Hanging().connect, {"in": 3}, lambda: False)
    running = asyncio.create_task(watch.run())
    await passes(1)
    running.cancel()
    await passes(1)
    assert running.cancelled()


@in_stopped_time
async def test_rabbitmq_is_left_alone_during_an_alarm() -> None:
    node = Node()
    async with node.watched(**{"in": 3}) as watch:
        assert watch.counts.keys() == {"in"}
        node.is_blocked = True
        await many_pass(3)
        node.looked_at("in")
        await many_pass(300)
        assert not watch.counts
        assert node.looked_at("in") == 0
        node.is_blocked = False
        await many_pass(3)
        assert watch.counts.keys() == {"in"}


async def test_a_queue_that_another_connection_has_for_itself(
    rig: Rig, rabbitmq: RabbitmqNode
) -> None:
    locked = f"{rig.input}-locked"
    watched = dict.fromkeys((locked, rig.input), OFTEN)
    with await trio.to_thread.run_sync(connect, rabbitmq.url) as owner:
        owner.declare(locked, exclusive=True)
        async with rig.open(watched=watched) as session:
            counted = partial(eventually, lambda: dict(session.counts), "the counts")
            await counted(until=lambda seen: seen.keys() == {rig.input})
            await rig.raw.publish(rig.input, b"1")
            await counted(until=lambda seen: seen[rig.input].messages == 1)
