"""The other end of a real aiormq channel, without a network: what is sent to it, it records.

It answers requests at once, and confirms, refuses or returns what is published when it is told to.
"""

import asyncio
from dataclasses import dataclass
from typing import cast

import aiormq
import pamqp.frame
from aiormq import Channel
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

from broker.amqp.connection import Connection
from broker.amqp.consumer import QueueConsumer, Settling
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.delivery import SettlementObserver
from broker.amqp.paced_log import PacedLog
from broker.amqp.publisher import Publisher
from broker.amqp.refusals import Refusals
from broker.amqp.suspects import Publishers, SuspectPublisher
from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.frames import FrameReader
from broker.amqp.wire.takers import ConfirmTaker
from broker.amqp.wire.writer import FrameWriter
from broker.telemetry.tally import PublishTally

QUEUE = "input"


@dataclass(frozen=True)
class Published:
    """What was published on a channel in confirm mode, and awaits its confirm."""

    number: int
    queue: str
    body: bytes
    header: ContentHeader
    exchange: str = ""


class Stream:
    """What a frame writer sees of a connection: an `asyncio.StreamWriter` with a slow reader."""

    def __init__(self) -> None:
        self.unread = asyncio.Queue[bytes]()

    def is_closing(self) -> bool:
        return False

    def write(self, frames: bytes) -> None:
        if frames:
            self.unread.put_nowait(frames)

    async def drain(self) -> None:
        await self.unread.join()


class FakeRabbitmq:
    """One connection with two channels. Made in the event loop that serves it."""

    def __init__(self) -> None:
        self._connection = aiormq.Connection("amqp://guest:guest@localhost/")
        self._connection.connection_tune = commands.Connection.Tune(frame_max=131_072)
        self._connection.server_properties = {
            "capabilities": {"publisher_confirms": True, "basic.nack": True}
        }
        self._connection.connected.set()
        self.consuming = Channel(self._connection, 1, publisher_confirms=False)
        self.publishing = Channel(self._connection, 2, publisher_confirms=True)
        self._stream = Stream()
        self.writer = FrameWriter(cast("asyncio.StreamWriter", self._stream))
        self.reader = FrameReader(limit=1 << 16, loop=asyncio.get_running_loop())
        self.acknowledgements: list[tuple[int, bool]] = []
        self.published: list[Published] = []
        self.unconfirmed: dict[int, Published] = {}
        self.events = 0
        self._consumer_tag = ""
        self._last_delivery = 0
        self._method: Basic.Publish | None = None
        self._header = ContentHeader()
        self._body = b""

    @property
    def unread(self) -> int:
        """How many writes have left and were not dealt with yet."""
        return self._stream.unread.qsize()

    def publisher(self) -> Publisher:
        """Make the publisher of the one channel."""
        publisher = Publisher(self.publishing, self.writer, _no_queue_is_missing, PublishTally())
        self.reader.add_taker(self.publishing.number, ConfirmTaker(publisher))
        return publisher

    def consumer(
        self,
        publisher: Publisher,
        tasks: asyncio.TaskGroup,
        observer: SettlementObserver | None = None,
        kind: type[QueueConsumer] = QueueConsumer,
    ) -> QueueConsumer:
        """Make the consumer of the other; there are no suspects, as no channel is ever closed."""
        refusals = Refusals()
        suspects = SuspectPublisher(_no_suspects, lambda *_: publisher, refusals)
        publishers = Publishers(publisher, suspects, refusals)
        consumer = kind(
            QUEUE,
            self.consuming,
            self.writer,
            Settling(
                publishers,
                DeadLettering(publishers, observer),
                PublishTally(),
                PacedLog(),
                tasks,
                observer,
            ),
            consumed=QUEUE,
            cancelled=_not_cancelled,
        )
        self.reader.add_sink(self.consuming.number, consumer)
        return consumer

    async def serve(self) -> None:
        """Deal with what is written, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._serve_aiormq())
            tasks.create_task(self._serve_writer())

    async def _serve_aiormq(self) -> None:
        while True:
            written = await self._connection.write_queue.get()
            self._read(written.payload)
            written.drain()

    async def _serve_writer(self) -> None:
        while True:
            self._read(await self._stream.unread.get())
            self._stream.unread.task_done()

    def _read(self, written: bytes) -> None:
        rest = written
        while rest:
            size, channel, frame = pamqp.frame.unmarshal(rest)
            self._deal_with(channel, frame)
            rest = rest[size:]
        self.events += 1

    def deliver(self, body: bytes) -> int:
        """Deliver one message and return its tag."""
        self._last_delivery += 1
        self._send(
            self.consuming,
            Basic.Deliver(self._consumer_tag, self._last_delivery, False, "", QUEUE),
            ContentHeader(body_size=len(body)),
            *[ContentBody(body)] * bool(body),
        )
        return self._last_delivery

    def confirm(self, number: int, *, multiple: bool = False) -> list[Published]:
        """Confirm one message, or all up to it; return which."""
        self._send(self.publishing, Basic.Ack(number, multiple))
        return self._forget(number, multiple)

    def refuse(self, number: int, *, multiple: bool = False) -> list[Published]:
        """Refuse one message, or all up to it; return which."""
        self._send(self.publishing, Basic.Nack(number, multiple, requeue=False))
        return self._forget(number, multiple)

    def give_back(self, number: int) -> Published:
        """Return one message for want of a queue: RabbitMQ then confirms it, too."""
        published = self.unconfirmed[number]
        self._send(
            self.publishing,
            Basic.Return(312, "NO_ROUTE", "", published.queue),
            ContentHeader(body_size=len(published.body), properties=published.header.properties),
            *[ContentBody(published.body)] * bool(published.body),
        )
        self.confirm(number)
        return published

    def _forget(self, number: int, multiple: bool) -> list[Published]:
        numbers = [one for one in self.unconfirmed if one == number or (multiple and one < number)]
        return [self.unconfirmed.pop(one) for one in numbers]

    def _deal_with(self, channel: int, frame: object) -> None:
        match frame:
            case Basic.Consume():
                self._consumer_tag = frame.consumer_tag
                self._send(self.consuming, Basic.ConsumeOk(frame.consumer_tag))
            case Basic.Ack():
                assert channel == self.consuming.number
                self.acknowledgements.append((frame.delivery_tag or 0, frame.multiple))
            case Basic.Publish():
                self._method, self._body = frame, b""
            case ContentHeader():
                self._header = frame
                self._take_published()
            case ContentBody():
                self._body += frame.value
                self._take_published()
            case _:
                raise NotImplementedError(frame)

    def _take_published(self) -> None:
        if self._method is None or len(self._body) < self._header.body_size:
            return
        exchange = self._method.exchange or ""
        assert self._method.mandatory == (not exchange)
        published = Published(
            len(self.published) + 1,
            self._method.routing_key or "",
            self._body,
            self._header,
            exchange,
        )
        self.published.append(published)
        self.unconfirmed[published.number] = published
        self._method = None

    def _send(self, channel: Channel, *frames: FrameTypes) -> None:
        for frame in frames:
            if isinstance(frame, Basic.ConsumeOk):
                channel.frames.put_nowait((0, frame))
            else:
                self.reader.feed_data(pamqp.frame.marshal(frame, channel.number))


async def _no_queue_is_missing(_: str) -> None:
    await asyncio.sleep(0)


async def _no_suspects() -> Connection:
    raise AssertionError("there are no suspects")


def _not_cancelled(error: AmqpError) -> None:
    raise error
