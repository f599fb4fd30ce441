"""The reader below aiormq: sound frames pass untouched, poisoned ones do no harm."""

import asyncio
import struct

import pamqp.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.errors import AmqpError
from broker.amqp.frames import FrameReader
from tests.amqp import raw_amqp
from tests.amqp.raw_amqp import frame

MARK = "mark-of-poison"
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_HEAD = 7


def read(*chunks: bytes) -> list[bytes]:
    """Read whole frames in the pieces in which aiormq asks for them."""

    async def frames() -> list[bytes]:
        reader = FrameReader(mark=MARK, limit=1 << 16, loop=asyncio.get_running_loop())
        for chunk in chunks:
            reader.feed_data(chunk)
        reader.feed_eof()
        found = []
        while not reader.at_eof():
            head = await reader.readexactly(1) + await reader.readexactly(6)
            (size,) = struct.unpack_from(">I", head, 3)
            found.append(head + await reader.readexactly(size + 1))
        return found

    return asyncio.run(frames())


def content_header(body_size: int, properties: bytes) -> bytes:
    return struct.pack(">HHQ", 60, 0, body_size) + properties


def deliver(exchange: bytes, routing_key: bytes) -> bytes:
    own = struct.pack(">HH", 60, 60) + b"\x03tag" + struct.pack(">QB", 7, 1)
    names = bytes([len(exchange)]) + exchange + bytes([len(routing_key)]) + routing_key
    return own + names


def content_of(read_frame: bytes) -> tuple[int, ContentHeader]:
    _, channel, header = pamqp.frame.unmarshal(read_frame)
    assert isinstance(header, ContentHeader)
    return channel, header


properties_bytes = st.one_of(
    st.binary(max_size=80),
    # Flags that promise properties, and something else.
    st.builds(
        lambda flags, rest: struct.pack(">H", flags & ~1) + rest,
        st.integers(0, 65_535),
        st.binary(max_size=80),
    ),
)


@given(st.integers(0, 2**64 - 1), properties_bytes)
@example(5, raw_amqp.header_table(b"h", raw_amqp.nested_table(15_000)))
@example(5, raw_amqp.flags(raw_amqp.FLAG_TIMESTAMP) + b"\xff" * 8)
@example(5, raw_amqp.flags(raw_amqp.FLAG_CONTENT_TYPE) + b"\x02\xff\xfe")
@example(5, b"")
def test_any_content_header_can_be_parsed_and_keeps_its_body_size(
    body_size: int, properties: bytes
) -> None:
    sent = frame(HEADER, 3, content_header(body_size, properties))

    (received,) = read(sent)

    channel, header = content_of(received)
    assert (channel, header.body_size) == (3, body_size)
    try:
        pamqp.frame.unmarshal(sent)
    except Exception:  # noqa: BLE001 - whatever it cannot parse
        assert header.properties.app_id == MARK
    else:
        assert received == sent


sound_names = st.text(max_size=60).map(str.encode)


@given(sound_names, sound_names)
def test_sound_names_pass_untouched(exchange: bytes, routing_key: bytes) -> None:
    sent = [
        frame(METHOD, 1, deliver(exchange, routing_key)),
        frame(HEADER, 1, content_header(1, b"\0\0")),
        frame(BODY, 1, b"\xce"),
        frame(HEARTBEAT, 0, b""),
    ]
    assert read(*sent) == sent


@given(st.binary(max_size=255), st.binary(max_size=255))
@example(b"", b"\xff")
@example(b"\xff", b"")
def test_any_names_can_be_parsed(exchange: bytes, routing_key: bytes) -> None:
    sent = [
        frame(METHOD, 1, deliver(exchange, routing_key)),
        frame(HEADER, 1, content_header(9, b"\0\0")),
    ]
    received, header = read(*sent)

    _, channel, method = pamqp.frame.unmarshal(received)
    assert isinstance(method, Basic.Deliver)
    assert (channel, method.consumer_tag, method.delivery_tag, method.redelivered) == (
        *(1, "tag", 7, True),
    )
    try:
        exchange.decode(), routing_key.decode()
    except UnicodeDecodeError:
        assert content_of(header)[1].properties.app_id == MARK
        assert content_of(header)[1].body_size == 9
    else:
        assert [received, header] == sent


def test_poison_stays_on_its_channel_and_with_its_message() -> None:
    sound = content_header(1, b"\0\0")
    received = read(
        frame(METHOD, 1, deliver(b"", b"\xff")),
        frame(METHOD, 2, deliver(b"", b"sound")),
        frame(HEADER, 2, sound),
        frame(HEADER, 1, sound),
        frame(METHOD, 1, deliver(b"", b"sound")),
        frame(HEADER, 1, sound),
    )
    marks = [content_of(received[n])[1].properties.app_id for n in (2, 3, 5)]
    assert marks == [None, MARK, None]


def test_frames_may_arrive_in_any_pieces() -> None:
    sent = [
        frame(METHOD, 1, deliver(b"", b"key")),
        frame(HEADER, 1, content_header(3, b"\0\0")),
        frame(BODY, 1, b"abc"),
    ]
    stream = b"".join(sent)

    async def one_byte_at_a_time() -> bytes:
        reader = FrameReader(mark=MARK, limit=1 << 16, loop=asyncio.get_running_loop())
        reading = [asyncio.create_task(read_frames(reader))]
        for byte in stream:
            reader.feed_data(bytes([byte]))
            await asyncio.sleep(0)
        reader.feed_eof()
        return await reading[0]

    async def read_frames(reader: FrameReader) -> bytes:
        received = b""
        while len(received) < len(stream):
            received += await reader.readexactly(1) + await reader.readexactly(6)
            (size,) = struct.unpack(">I", received[-4:])
            received += await reader.readexactly(size + 1)
        return received

    assert asyncio.run(one_byte_at_a_time()) == stream
    for cut in range(len(stream)):
        assert read(stream[:cut], stream[cut:]) == sent


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46....",
        b"220 mail.example ESMTP\r\n",
        frame(METHOD, 0, b"")[:3] + struct.pack(">I", (1 << 20) + 1),
        b"\0" * 20,
    ],
)
def test_a_peer_that_speaks_something_else(nonsense: bytes) -> None:
    with pytest.raises(AmqpError, match="does not speak AMQP"):
        read(nonsense)


def test_a_stream_that_ends_within_a_frame() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read(frame(BODY, 1, b"abc")[:-1])


def test_remembers_why_rabbitmq_closed_the_connection() -> None:
    close = commands.Connection.Close(530, "NOT_ALLOWED - ü", 10, 40)

    async def close_text() -> tuple[str, str]:
        reader = FrameReader(mark=MARK, limit=1 << 16, loop=asyncio.get_running_loop())
        before = reader.close_text
        reader.feed_data(pamqp.frame.marshal(close, 0))
        await reader.readexactly(1)
        return before, reader.close_text

    assert asyncio.run(close_text()) == ("", "NOT_ALLOWED - ü")
