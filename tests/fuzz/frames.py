"""The stream from RabbitMQ: the same frames in whatever pieces it arrives."""

from collections.abc import Sequence
from itertools import batched
from typing import TYPE_CHECKING, cast

from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.frames import FrameReader
from broker.amqp.wire.properties import Properties
from broker.amqp.wire.takers import ConfirmTaker

if TYPE_CHECKING:
    import asyncio

CHANNELS = (1, 2)
"""One that consumes and one that publishes; all others are left to aiormq."""


def check(data: bytes) -> None:
    """Read a stream at once, byte by byte, and in pieces as long as its first byte says."""
    if not data:
        return
    stream = data[1:]
    check_pieces([stream], [bytes([byte]) for byte in stream], _pieces(stream, data[0] + 1))


def check_pieces(*ways: Sequence[bytes]) -> None:
    """Read one stream in several ways, and expect the same of all."""
    first, *others = map(_read, ways)
    assert all(other == first for other in others)


def _pieces(stream: bytes, size: int) -> list[bytes]:
    return [bytes(piece) for piece in batched(stream, size, strict=False)]


def _read(pieces: Sequence[bytes]) -> tuple[list[object], bytes | None]:
    """Return what the sinks take, and what is left for aiormq unless the stream is nonsense."""
    reader = FrameReader(limit=1 << 16, loop=cast("asyncio.AbstractEventLoop", _Loop()))
    taken: list[object] = []
    reader.add_sink(CHANNELS[0], _Sink(CHANNELS[0], taken))
    reader.add_taker(CHANNELS[1], ConfirmTaker(_Sink(CHANNELS[1], taken)))
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    return taken, None if isinstance(reader.exception(), AmqpError) else _left(reader)


def _left(reader: FrameReader) -> bytes:
    # At its end a stream has nothing to wait for, so no loop needs to run.
    try:
        reader.read().send(None)
    except StopIteration as stop:
        return bytes(stop.value)
    raise AssertionError("the reader waits at the end of the stream")


class _Loop:
    """As much of an event loop as a reader asks for; no time passes in it."""

    def time(self) -> float:
        return 0.0

    def get_debug(self) -> bool:
        return False


class _Sink:
    def __init__(self, channel: int, taken: list[object]) -> None:
        self._channel = channel
        self._taken = taken

    def delivered(
        self, tag: int, *, redelivered: bool, properties: Properties, body: bytes
    ) -> None:
        self._taken.append((self._channel, "delivered", tag, redelivered, properties, body))

    def returned(self, properties: Properties) -> None:
        self._taken.append((self._channel, "returned", properties))

    def confirmed(self, tag: int, *, multiple: bool, positive: bool) -> None:
        self._taken.append((self._channel, "confirmed", tag, multiple, positive))

    def flush(self) -> None:
        """How the stream came in pieces is no part of what it said."""
