"""The reader below aiormq: frequent frames are handed over, all others pass untouched."""

import asyncio
import struct
from dataclasses import dataclass, field
from itertools import pairwise

import pamqp.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.frames import MAX_FRAME_SIZE, FrameReader
from broker.amqp.wire.properties import Properties
from broker.amqp.wire.takers import ConfirmTaker
from tests.amqp.in_asyncio import SkippingLoop, in_asyncio
from tests.lab import raw_content
from tests.lab.raw_content import frame

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
TAKEN, LEFT, PUBLISHED = 1, 2, 4
"""A channel that consumes, one without a taker, and one that publishes."""


@dataclass
class Sink:
    """Writes down what it takes."""

    events: list[tuple[object, ...]] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)

    def delivered(
        self, tag: int, *, redelivered: bool, properties: Properties, body: bytes
    ) -> None:
        self.events.append(("delivered", tag, redelivered, properties, body))

    def returned(self, properties: Properties) -> None:
        self.events.append(("returned", properties))

    def confirmed(self, tag: int, *, multiple: bool, positive: bool) -> None:
        self.events.append(("confirmed", tag, multiple, positive))

    def flush(self) -> None:
        self.flushed.append(len(self.events))


def open_reader(sink: Sink) -> FrameReader:
    reader = FrameReader(limit=1 << 16, loop=asyncio.get_running_loop())
    reader.add_sink(TAKEN, sink)
    reader.add_taker(PUBLISHED, ConfirmTaker(sink))
    return reader


def read(*chunks: bytes) -> tuple[list[tuple[object, ...]], bytes]:
    """Give what the sink of the channels takes, and what is left for aiormq."""
    sink = Sink()

    async def feed() -> bytes:
        reader = open_reader(sink)
        for chunk in chunks:
            reader.feed_data(chunk)
        reader.feed_eof()
        return await reader.read()

    left = asyncio.run(feed())
    return sink.events, left


def content_header(body_size: int, properties: bytes = b"\0\0") -> bytes:
    return struct.pack(">HHQ", 60, 0, body_size) + properties


def deliver(
    tag: int = 1, *, redelivered: bool = False, exchange: bytes = b"", routing_key: bytes = b"q"
) -> bytes:
    own = struct.pack(">HH", 60, 60) + b"\x04ctag" + struct.pack(">QB", tag, redelivered)
    names = bytes([len(exchange)]) + exchange + bytes([len(routing_key)]) + routing_key
    return own + names


def delivery(channel: int, body: bytes, properties: bytes = b"\0\0", **method: object) -> bytes:
    return (
        frame(METHOD, channel, deliver(**method))  # type: ignore[arg-type]
        + frame(HEADER, channel, content_header(len(body), properties))
        + (frame(BODY, channel, body) if body else b"")
    )


def marshal(what: pamqp.frame.FrameTypes, channel: int) -> bytes:
    return pamqp.frame.marshal(what, channel)


@given(
    tag=st.integers(1, 2**63 - 1),
    redelivered=st.booleans(),
    exchange=st.text(max_size=60).map(str.encode),
    routing_key=st.text(max_size=60).map(str.encode),
    pieces=st.lists(st.binary(min_size=1, max_size=30), max_size=4),
)
def test_hands_over_what_pamqp_would_decode(
    tag: int, redelivered: bool, exchange: bytes, routing_key: bytes, pieces: list[bytes]
) -> None:
    body = b"".join(pieces)
    method = deliver(tag, redelivered=redelivered, exchange=exchange, routing_key=routing_key)
    stream = frame(METHOD, TAKEN, method) + frame(HEADER, TAKEN, content_header(len(body)))
    stream += b"".join(frame(BODY, TAKEN, piece) for piece in pieces)

    _, _, decoded = pamqp.frame.unmarshal(frame(METHOD, TAKEN, method))
    assert isinstance(decoded, Basic.Deliver)
    assert (decoded.delivery_tag, decoded.redelivered) == (tag, redelivered)
    assert read(stream) == ([("delivered", tag, redelivered, Properties(), body)], b"")


@given(st.binary(max_size=255), st.binary(max_size=255))
@example(b"", b"\xff")
@example(b"\xff", b"")
def test_any_exchange_and_routing_key_leave_body_and_neighbours_alone(
    exchange: bytes, routing_key: bytes
) -> None:
    odd = delivery(TAKEN, b"a", exchange=exchange, routing_key=routing_key)

    assert read(odd + delivery(TAKEN, b"neighbour", tag=2)) == (
        [
            ("delivered", 1, False, Properties(), b"a"),
            ("delivered", 2, False, Properties(), b"neighbour"),
        ],
        b"",
    )


@given(st.binary(max_size=100))
@example(raw_content.flags(raw_content.FLAG_TIMESTAMP) + b"\xff" * 8)
@example(raw_content.header_table(b"h", raw_content.nested_table(15_000)))
@example(b"")
def test_any_properties_leave_body_and_neighbours_alone(properties: bytes) -> None:
    (first, second), left = read(
        delivery(TAKEN, b"a", properties) + delivery(TAKEN, b"neighbour", tag=2)
    )
    assert (first[0], first[1], first[-1]) == ("delivered", 1, b"a")
    assert second == ("delivered", 2, False, Properties(), b"neighbour")
    assert left == b""


@in_asyncio
async def test_messages_of_several_channels_may_be_mixed() -> None:
    sinks = {1: Sink(), 2: Sink()}
    reader = FrameReader(limit=1 << 16, loop=asyncio.get_running_loop())
    for channel, sink in sinks.items():
        reader.add_sink(channel, sink)
    reader.feed_data(frame(METHOD, 1, deliver(1, routing_key=b"\xff")))
    reader.feed_data(frame(METHOD, 2, deliver(1)))
    reader.feed_data(frame(HEADER, 2, content_header(2)) + frame(HEADER, 1, content_header(2)))
    reader.feed_data(frame(BODY, 1, b"a") + frame(BODY, 2, b"cd") + frame(BODY, 1, b"b"))
    assert sinks[1].events == [("delivered", 1, False, Properties(), b"ab")]
    assert sinks[2].events == [("delivered", 1, False, Properties(), b"cd")]


@given(st.integers(1, 2**63 - 1), st.booleans())
def test_confirms(tag: int, multiple: bool) -> None:
    stream = marshal(Basic.Ack(tag, multiple), PUBLISHED)
    stream += marshal(Basic.Nack(tag, multiple, requeue=True), PUBLISHED)
    assert read(stream) == (
        [("confirmed", tag, multiple, True), ("confirmed", tag, multiple, False)],
        b"",
    )


def test_a_returned_message_comes_before_its_confirm() -> None:
    properties = Basic.Properties(message_id="m-1")
    stream = marshal(Basic.Return(312, "NO_ROUTE", "", "q"), PUBLISHED)
    stream += marshal(ContentHeader(body_size=3, properties=properties), PUBLISHED)
    stream += marshal(ContentBody(b"abc"), PUBLISHED) + marshal(Basic.Ack(1), PUBLISHED)
    assert read(stream) == (
        [
            ("returned", Properties(message_id="m-1", raw=b"\0\x80\x03m-1")),
            ("confirmed", 1, False, True),
        ],
        b"",
    )


# What aiormq must get to see, each with a neighbour that it must not.
FOR_AIORMQ = [
    marshal(Heartbeat(), 0),
    marshal(commands.Connection.Blocked("memory"), 0),
    marshal(Basic.CancelOk("ctag"), TAKEN),
    marshal(Basic.Cancel("ctag", nowait=True), TAKEN),
    marshal(commands.Channel.Close(404, "NOT_FOUND", 0, 0), TAKEN),
    marshal(commands.Queue.DeclareOk("q", 1, 2), LEFT),
    delivery(
        LEFT, b"not for us", raw_content.flags(1 << 15) + b"\x02\xff\xfe", routing_key=b"\xff"
    ),
    marshal(Basic.Ack(5), LEFT),
]


def test_all_other_frames_reach_aiormq_byte_for_byte_and_in_order() -> None:
    taken = [delivery(TAKEN, b"x", tag=tag) for tag in range(1, len(FOR_AIORMQ) + 1)]
    stream = b"".join(a + b for a, b in zip(taken, FOR_AIORMQ, strict=True))

    events, left = read(stream)

    assert [event[1] for event in events] == list(range(1, len(taken) + 1))
    assert left == b"".join(FOR_AIORMQ)


MIXED = b"".join([delivery(TAKEN, b"abc"), *FOR_AIORMQ, delivery(TAKEN, b"\xce" * 20, tag=2)])


@given(st.lists(st.integers(0, len(MIXED)), max_size=12))
@example(list(range(len(MIXED))))
def test_frames_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), len(MIXED)]
    pieces = [MIXED[start:end] for start, end in pairwise(bounds)]
    assert read(*pieces) == read(MIXED)


NONSENSE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x46....",
    b"220 mail.example ESMTP\r\n",
    struct.pack(">BHI", METHOD, 0, (1 << 20) + 1) + b"\0",
    b"\0" * 20,
]


BROKEN = [
    frame(BODY, TAKEN, b"a content that nothing announced"),
    frame(HEADER, TAKEN, content_header(1)),
    frame(METHOD, TAKEN, deliver()) + frame(HEADER, TAKEN, b"\0\x3c"),
    frame(METHOD, TAKEN, deliver()[:4]),
    frame(METHOD, TAKEN, deliver()[:12]),
    frame(METHOD, PUBLISHED, struct.pack(">HHI", 60, 80, 1)),
    frame(METHOD, 0, struct.pack(">HH", 10, 50)),
    marshal(Basic.Ack(3), PUBLISHED)[:-1] + b"\0",
]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        *((broken, "breaks AMQP") for broken in BROKEN),
        *((nonsense, "does not speak AMQP") for nonsense in NONSENSE),
    ],
)
@in_asyncio
async def test_after_nonsense_nothing_is_handed_over_any_more(broken: bytes, said: str) -> None:
    sink = Sink()
    reader = open_reader(sink)
    reader.feed_data(broken + marshal(Basic.Ack(1), PUBLISHED))
    reader.feed_data(marshal(Basic.Ack(2), PUBLISHED))
    with pytest.raises(AmqpError, match=said):
        await reader.readexactly(1)
    assert sink.events == []


def test_a_content_header_may_be_larger_than_any_frame_that_was_agreed_to() -> None:
    properties = raw_content.header_table(b"h", raw_content.long(b"x" * 2 * MAX_FRAME_SIZE))
    frames = frame(METHOD, TAKEN, deliver()) + frame(HEADER, TAKEN, content_header(0, properties))
    (event,), left = read(frames[:100_000], frames[100_000:])
    assert (event[0], left) == ("delivered", b"")
    # Nobody has asked for one on this channel.
    with pytest.raises(AmqpError, match="does not speak AMQP"):
        read(frame(HEADER, LEFT, content_header(0, properties)))


def test_a_refused_protocol_version_is_left_to_aiormq() -> None:
    header = b"AMQP\0\0\x09\x01"
    assert read(header) == ([], header)
    confirm = marshal(Basic.Ack(1), PUBLISHED)
    assert read(header + confirm) == read(header, confirm)


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(0, 131_072), (1 << 32 - 1, 131_072), (131_073, 131_072), (131_072, 131_072), (4096, 4096)],
)
def test_frame_max_is_negotiated_down(offered: int, agreed: int) -> None:
    _, shown = read(marshal(commands.Connection.Tune(2047, offered, 60), 0))
    assert shown == marshal(commands.Connection.Tune(2047, agreed, 60), 0)


@in_asyncio
async def test_remembers_why_rabbitmq_closed_the_connection() -> None:
    reader = FrameReader(limit=1 << 16, loop=asyncio.get_running_loop())
    reader.feed_data(marshal(commands.Channel.Close(404, "no queue", 0, 0), 0))
    assert reader.close_text == ""
    reader.feed_data(marshal(commands.Connection.Close(530, "NOT_ALLOWED - ü", 10, 40), 0))
    assert reader.close_text == "NOT_ALLOWED - ü"


@in_asyncio
async def test_what_arrived_together_is_handed_on_once_and_before_aiormq_sees_the_rest() -> None:
    sink = Sink()
    reader = open_reader(sink)
    cancelled = marshal(Basic.CancelOk("consumer"), TAKEN)
    reader.feed_data(delivery(TAKEN, b"1") + delivery(TAKEN, b"2") + cancelled)
    reader.feed_data(delivery(TAKEN, b"3"))
    assert await reader.readexactly(len(cancelled)) == cancelled
    assert sink.flushed == [2, 3]


def shown_over_time(*frames: bytes, is_open: bool = True) -> bytes:
    """Feed each 0.6 s after the one before, and give what aiormq gets to see of it."""
    loop = SkippingLoop()
    reader = FrameReader(limit=1 << 16, loop=loop)
    if is_open:
        reader.add_taker(PUBLISHED, ConfirmTaker(Sink()))
    for one in frames:
        loop.now += 0.6
        reader.feed_data(one)
    reader.feed_eof()
    try:
        return loop.run_until_complete(reader.read())
    finally:
        loop.close()


def test_aiormq_is_shown_a_sign_of_life_for_frames_it_does_not_see() -> None:
    confirms = [marshal(Basic.Ack(number), PUBLISHED) for number in range(10)]
    assert shown_over_time(*confirms) == Heartbeat().marshal() * 5
    others = [marshal(commands.Queue.DeclareOk("q", 1, 2), LEFT)] * 10
    assert shown_over_time(*others) == b"".join(others)


def test_in_the_handshake_aiormq_is_shown_nothing_but_what_arrived() -> None:
    start = marshal(commands.Connection.Start(server_properties={"product": "RabbitMQ"}), 0)
    assert shown_over_time(*(bytes([byte]) for byte in start), is_open=False) == start


@dataclass
class Taker:
    """Takes bodies, and writes down all that it is shown."""

    shown: list[tuple[int, bytes]] = field(default_factory=list)

    def take(self, frame_type: int, payload: bytes) -> bool:
        self.shown.append((frame_type, payload))
        if payload == b"broken":
            raise KeyError("nothing announced it")
        return frame_type == BODY


@in_asyncio
async def test_a_taker_is_shown_its_channel_alone_and_leaves_what_it_likes() -> None:
    taker = Taker()
    kept, taken, others = frame(METHOD, LEFT, b"m"), frame(BODY, LEFT, b"b"), frame(BODY, 3, b"o")
    reader = FrameReader(limit=1 << 16, loop=asyncio.get_running_loop())
    reader.add_taker(LEFT, taker)
    reader.feed_data(kept + taken + others)
    reader.feed_data(frame(BODY, LEFT, b"broken") + taken)
    reader.feed_eof()
    with pytest.raises(AmqpError, match="breaks AMQP 0-9-1"):
        await reader.read()
    left = bytes(reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001 - read() raises
    assert taker.shown == [(METHOD, b"m"), (BODY, b"b"), (BODY, b"broken")]
    assert left == kept + others
