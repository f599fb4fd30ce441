"""Asking a queue for messages: the frames that go out, and those that come back."""

import asyncio
import struct
from typing import TYPE_CHECKING, cast

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from broker.amqp.admin import Got, getter
from broker.amqp.admin.getter import QueueGetter
from tests.amqp.in_asyncio import in_asyncio
from tests.lab import raw_content

if TYPE_CHECKING:
    import aiormq

    from broker.amqp.wire.writer import FrameWriter

METHOD, HEADER, BODY = 1, 2, 3
CHANNEL = 5
EMPTY = (METHOD, struct.pack(">HH", 60, 72) + b"\0")


class Line:
    """The channel and the writer of its connection; writes down what goes out."""

    number = CHANNEL

    def __init__(self) -> None:
        self.events: list[object] = []

    def write(self, frames: bytes) -> None:
        while frames:
            size, channel, frame = pamqp.frame.unmarshal(frames)
            assert channel == CHANNEL
            self.events.append(frame)
            frames = frames[size:]

    async def flushed(self) -> None:
        self.events.append("flushed")

    async def basic_qos(self, *, timeout: float) -> None:  # noqa: ASYNC109 - aiormq's signature
        assert timeout > 0
        self.events.append("answered")

    def getter(self) -> QueueGetter:
        return QueueGetter("letters", cast("aiormq.Channel", self), cast("FrameWriter", self))


def get_ok(tag: int, behind: int, names: bytes = b"\0\x01q") -> tuple[int, bytes]:
    return METHOD, struct.pack(">HHQB", 60, 71, tag, 0) + names + struct.pack(">I", behind)


def header(size: int, properties: bytes = b"\0\0") -> tuple[int, bytes]:
    return HEADER, struct.pack(">HHQ", 60, 0, size) + properties


def ask(count: int, *answers: tuple[int, bytes]) -> tuple[list[Got], Line]:
    line = Line()

    async def run() -> list[Got]:
        one = line.getter()
        loop = asyncio.get_running_loop()
        for answer in answers:
            loop.call_soon(one.take, *answer)
        return list(await one.get(count))

    return asyncio.run(run()), line


def test_gets_what_is_there() -> None:
    first = (get_ok(1, 1), header(5), (BODY, b"12"), (BODY, b"345"))
    got, line = ask(4, *first, get_ok(2, 0), header(0), EMPTY, EMPTY)
    assert got == [Got(1, b"12345", 1), Got(2, b"", 0)]
    assert len(line.events) == 4
    for request in line.events:
        assert isinstance(request, Basic.Get)
        assert (request.queue, request.no_ack) == ("letters", False)


@given(
    st.binary(max_size=255),
    st.binary(max_size=255),
    st.binary(max_size=100),
    st.integers(0, 2**32 - 1),
)
def test_neither_names_nor_properties_stand_in_the_way(
    exchange: bytes, routing_key: bytes, properties: bytes, behind: int
) -> None:
    names = raw_content.short(exchange) + raw_content.short(routing_key)
    [got], _ = ask(1, get_ok(9, behind, names), header(1, properties), (BODY, b"x"))
    assert (got.tag, got.behind, got.body) == (9, behind, b"x")


def test_all_headers_arrive() -> None:
    properties = raw_content.header_table(b"h", raw_content.array(b"I\0\0\0\x07"))
    [got], _ = ask(1, get_ok(1, 0), header(0, properties))
    assert got.headers == {"h": [7]}
    assert got.raw_properties == properties
    [got], _ = ask(1, get_ok(1, 0), header(0, raw_content.header_table(b"h", b"?")))
    assert got.properties_error is not None


@in_asyncio
async def test_other_frames_are_left_to_aiormq() -> None:
    one = Line().getter()
    assert not one.take(METHOD, struct.pack(">HH", 20, 40) + b"close")
    for kind, payload in ((BODY, b"x"), header(1)):
        with pytest.raises(KeyError):
            one.take(kind, payload)
    with pytest.raises(struct.error):
        one.take(METHOD, struct.pack(">HH", 60, 71))


def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getter, "RPC_TIMEOUT", 0)
    with pytest.raises(TimeoutError):
        ask(1)


@in_asyncio
async def test_acknowledges_each_by_itself_and_waits_until_that_is_done() -> None:
    line = Line()
    one = line.getter()
    await one.acknowledge([])
    for answer in (get_ok(6, 3), header(0)):
        asyncio.get_running_loop().call_soon(one.take, *answer)
    await one.acknowledge([Got(2, b"", 0), Got(5, b"", 0)])
    assert await one.get(1) == [Got(6, b"", 3)], "was taken along, for an answer"

    *acks, flushed, get, answered = line.events
    assert isinstance(get, Basic.Get)
    assert [(ack.delivery_tag, ack.multiple) for ack in acks if isinstance(ack, Basic.Ack)] == [
        (2, False),
        (5, False),
    ]
    assert (flushed, answered) == ("flushed", "answered")
