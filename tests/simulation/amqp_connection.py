"""One connection of the simulated RabbitMQ: frames in, frames out, on a transport in memory."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from random import choice, randint, random, randrange
from typing import TYPE_CHECKING

import pamqp.frame
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.constants import FRAME_END_CHAR, FRAME_HEADER
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader, ProtocolHeader
from pamqp.heartbeat import Heartbeat

from tests.simulation.guest_loop import GuestLoop
from tests.simulation.ledger import Message, State, numbers_in

if TYPE_CHECKING:
    from tests.simulation.rabbitmq import Rabbitmq

_SPLIT = 0.05
"""The chance that what is sent together arrives in two pieces."""


@dataclass
class Stored:
    """A message for the broker as it lies in its queue."""

    message: Message
    queue: str
    body: bytes
    properties: bytes
    """Flags and properties as in the content header."""
    is_redelivered: bool = False


@dataclass
class Unconfirmed:
    message: Message | None
    """What it came of; None for the word of that to other brokers."""
    delivery: int
    outcome: State


@dataclass
class Channel:
    name: str
    number: int
    prefetch: int = 0
    queue: str | None = None
    """What it consumes now."""
    consumer_tag: str = ""
    last_tag: int = 0
    unacknowledged: dict[int, Stored] = field(default_factory=dict)
    last_publishing: int = 0
    unconfirmed: dict[int, Unconfirmed] = field(default_factory=dict)
    method: Basic.Publish | None = None
    header: ContentHeader | None = None
    body: bytes = b""

    @property
    def has_room(self) -> bool:
        return self.queue is not None and len(self.unacknowledged) < self.prefetch


class Connection(asyncio.Transport):
    """The client's transport, and the server's half of the connection behind it.

    Attributes:
        is_frozen: The peer hangs: it neither reads nor writes.
        is_blocked: It reads nothing from this connection because of an alarm.
    """

    def __init__(
        self, node: "Rabbitmq", loop: GuestLoop, protocol: asyncio.Protocol, name: str
    ) -> None:
        super().__init__()
        self.name = name
        self.channels: dict[int, Channel] = {}
        self.is_frozen = False
        self.is_blocked = False
        self._is_open = True
        self._outlived: dict[int, int] = {}
        """How many publishings it has not read yet came of deliveries that went back since."""
        self._node = node
        self._loop = loop
        self._protocol = protocol
        self._unread = b""

    # The client's side

    def get_write_buffer_size(self) -> int:
        return len(self._unread)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_open:
            self._unread += data
            self._read()

    def close(self) -> None:
        self._hang_up(None)

    def abort(self) -> None:
        self._hang_up(None)

    def is_closing(self) -> bool:
        return not self._is_open

    def can_write_eof(self) -> bool:
        return False

    # The server's side

    def lose(self) -> None:
        self._hang_up(ConnectionResetError(104, "reset by chance"))

    def freeze(self) -> None:
        """Hang: read and write nothing any more."""
        self.is_frozen = self._node.has_hung = True

    def block(self) -> None:
        self.is_blocked = True
        self._node.blocked(self)
        self.send(0, commands.Connection.Blocked("low on memory"))
        self._loop.call_soon_threadsafe(self._flow, self._protocol.pause_writing)

    def unblock(self) -> None:
        self.is_blocked = False
        self._node.unblocked(self)
        self.send(0, commands.Connection.Unblocked())
        self._loop.call_soon_threadsafe(self._flow, self._protocol.resume_writing)
        self._read()

    def outlive(self, message: Message) -> None:
        """Take note that a delivery went back, while an alarm may block what came of it here."""
        self._outlived[message.number] = numbers_in(self._unread).count(message.number)

    def take_outlived(self, number: int) -> bool:
        """Return whether a publishing is one of those."""
        left = self._outlived.get(number, 0)
        self._outlived[number] = max(left - 1, 0)
        return left > 0

    def beat(self) -> None:
        self.send(0, Heartbeat())

    def deliver(self, channel: Channel, stored: Stored) -> None:
        channel.last_tag += 1
        channel.unacknowledged[channel.last_tag] = stored
        tag, body = channel.last_tag, stored.body
        deliver = Basic.Deliver(channel.consumer_tag, tag, stored.is_redelivered, "", stored.queue)
        header = struct.pack(">HHQ", 60, 0, len(body)) + stored.properties
        middle = randint(1, len(body))
        self._send_bytes(
            pamqp.frame.marshal(deliver, channel.number)
            + struct.pack(">BHI", FRAME_HEADER, channel.number, len(header))
            + header
            + FRAME_END_CHAR
            + b"".join(
                pamqp.frame.marshal(ContentBody(part), channel.number)
                for part in (body[:middle], body[middle:])
                if part
            )
        )

    def cancel_consumer(self, channel: Channel) -> None:
        channel.queue = None
        self.send(channel.number, Basic.Cancel(channel.consumer_tag, nowait=True))

    def close_channel(self, channel: Channel, code: int, text: str) -> None:
        del self.channels[channel.number]
        self._node.take_back(channel, is_lost=True)
        self.send(channel.number, commands.Channel.Close(code, text, 0, 0))

    def confirm_some(self, channel: Channel) -> None:
        """Tell the outcome of one publishing, or of several that had the same."""
        numbers = list(channel.unconfirmed)
        is_multiple = random() < 0.5
        if is_multiple:
            is_taken = self._is_taken(channel, numbers[0])
            run = 1
            while run < len(numbers) and self._is_taken(channel, numbers[run]) == is_taken:
                run += 1
            numbers = numbers[: randint(1, run)]
        else:
            numbers = [choice(numbers)]
            is_taken = self._is_taken(channel, numbers[0])
        answer = Basic.Ack if is_taken else Basic.Nack
        self.send(channel.number, answer(numbers[-1], is_multiple))
        for number in numbers:
            self._node.resolved(channel.unconfirmed.pop(number))

    def send(self, channel: int, frame: FrameTypes) -> None:
        self._send_bytes(pamqp.frame.marshal(frame, channel))

    @staticmethod
    def _is_taken(channel: Channel, number: int) -> bool:
        # What RabbitMQ returns, it confirms nevertheless.
        return channel.unconfirmed[number].outcome is not State.HELD

    def _send_bytes(self, data: bytes) -> None:
        if self._is_open and not self.is_frozen:
            if random() < _SPLIT:
                middle = randrange(len(data))
                self._loop.call_soon_threadsafe(self._arrive, data[:middle])
                data = data[middle:]
            self._loop.call_soon_threadsafe(self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self._is_open:
            self._protocol.data_received(data)

    def _flow(self, change: Callable[[], None]) -> None:
        if self._is_open:
            change()

    def _hang_up(self, error: Exception | None) -> None:
        if self._is_open:
            self._is_open = False
            self._node.gone(self, "closed" if error is None else "lost")
            self._loop.call_soon_threadsafe(self._protocol.connection_lost, error)

    def _read(self) -> None:
        while self._unread and self._is_reading():
            size, channel, frame = pamqp.frame.unmarshal(self._unread)
            self._unread = self._unread[size:]
            self._deal_with(channel, frame)

    def _is_reading(self) -> bool:
        return self._is_open and not self.is_frozen and not self.is_blocked

    def _deal_with(self, number: int, frame: object) -> None:
        match frame:
            case Heartbeat():
                pass
            case Basic.Publish() | ContentHeader() | ContentBody():
                if number in self.channels:
                    self._take_content(self.channels[number], frame)
            case Basic.Ack():
                if number in self.channels:
                    self._node.acknowledged(
                        self.channels[number], frame.delivery_tag or 0, multiple=frame.multiple
                    )
            case commands.Connection.Close():
                self.send(0, commands.Connection.CloseOk())
            case _:
                for answer in self._answers(number, frame):
                    self.send(number, answer)

    def _answers(self, number: int, frame: object) -> list[FrameTypes]:  # noqa: PLR0911, PLR0912 - a table
        channel = self.channels.get(number)
        match frame:
            case ProtocolHeader():
                return [_START]
            case commands.Connection.StartOk():
                if self._node.refuses_logins:
                    return [commands.Connection.Close(403, "ACCESS_REFUSED", 0, 0)]
                return [commands.Connection.Tune(2047, 131_072, 10)]
            case commands.Connection.Open():
                return [commands.Connection.OpenOk()]
            case commands.Channel.Open():
                self.channels[number] = Channel(f"{self.name}/{number}", number)
                return [commands.Channel.OpenOk()]
            case commands.Channel.Close() if channel:
                self._node.take_back(self.channels.pop(number), is_lost=False)
                return [commands.Channel.CloseOk()]
            case commands.Confirm.Select() if channel:
                return [commands.Confirm.SelectOk()]
            case Basic.Qos() if channel:
                channel.prefetch = frame.prefetch_count or 1 << 16
                return [Basic.QosOk()]
            case Basic.Consume() if channel:
                if frame.queue in self._node.away:
                    return self._refused(channel, consuming=True)
                channel.queue, channel.consumer_tag = frame.queue or "", frame.consumer_tag
                self._node.consumed(channel)
                return [Basic.ConsumeOk(frame.consumer_tag)]
            case Basic.Cancel() if channel:
                channel.queue = None
                return [Basic.CancelOk(frame.consumer_tag)]
            case commands.Queue.Declare() if channel and frame.queue in self._node.away:
                return self._refused(channel, consuming=False)
            case commands.Queue.Declare() if channel:
                if self._node.declares(frame.queue or "", passive=frame.passive):
                    return [commands.Queue.DeclareOk(frame.queue or "", 0, 0)]
                del self.channels[number]
                return [commands.Channel.Close(404, "NOT_FOUND - no queue", 50, 10)]
            case commands.Exchange.Declare():
                return [commands.Exchange.DeclareOk()]
            case commands.Queue.Bind():
                return [commands.Queue.BindOk()]
            case _:
                return []  # answers to what was closed or cancelled, or for a channel that is gone

    def _refused(self, channel: Channel, *, consuming: bool) -> list[FrameTypes]:
        """Close the channel, or, as a quorum queue does that nobody can consume, the connection."""
        if consuming and random() < 0.3:
            return [commands.Connection.Close(541, "INTERNAL_ERROR", 0, 0)]
        del self.channels[channel.number]
        code, text = choice([(404, "NOT_FOUND - home node is down"), (405, "RESOURCE_LOCKED")])
        return [commands.Channel.Close(code, text, 0, 0)]

    def _take_content(self, channel: Channel, frame: object) -> None:
        match frame:
            case Basic.Publish():
                channel.method, channel.body = frame, b""
            case ContentHeader():
                channel.header = frame
            case ContentBody():
                channel.body += frame.value
        header, method = channel.header, channel.method
        if method is None or header is None or len(channel.body) < header.body_size:
            return
        channel.method = channel.header = None
        channel.last_publishing += 1
        self._take_publishing(channel, method, header, channel.body)

    def _take_publishing(
        self, channel: Channel, method: Basic.Publish, header: ContentHeader, body: bytes
    ) -> None:
        queue = method.routing_key or ""
        if method.exchange and self._node.refuses_exchange:
            self.close_channel(channel, 403, "ACCESS_REFUSED")
            return
        if method.exchange:
            published = self._node.announced(body)
        else:
            headers = header.properties.headers or {}
            published = self._node.published(self, queue, body, headers)
        channel.unconfirmed[channel.last_publishing] = published
        if published.outcome is State.RETURNED:
            self._send_bytes(
                pamqp.frame.marshal(Basic.Return(312, "NO_ROUTE", "", queue), channel.number)
                + pamqp.frame.marshal(header, channel.number)
                + (pamqp.frame.marshal(ContentBody(body), channel.number) if body else b"")
            )
        if self._node.has_alarm and not self.is_blocked:
            self.block()


_START = commands.Connection.Start(
    server_properties={
        "capabilities": {
            "publisher_confirms": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "connection.blocked": True,
        }
    }
)
