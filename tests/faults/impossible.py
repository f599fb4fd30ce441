"""The catalogue of messages that RabbitMQ, or the size of a frame, makes impossible to publish.

Each is sound when it reaches its queue. What makes it impossible is a limit of RabbitMQ that was
lowered since, what routing or dead-lettering adds to it, or a frame that nobody divides.
"""

from collections.abc import Callable, Sequence

import msgspec

from tests.faults import chat
from tests.faults.poison import MAX_BYTES, Oddity, Poison
from tests.lab.raw_content import FRAME_MAX, PERSISTENT, Content, header_filling, long, persistent

type Impossible = Poison | Oddity
type Maker = Callable[[int], Impossible]
"""Makes a message that differs from all others by its number."""

_SMALL_FRAME = 8_192
"""The smallest that RabbitMQ 4 offers."""


class Ordeal(msgspec.Struct, frozen=True):
    """A limit of RabbitMQ, and what it makes impossible: published before and under the limit."""

    limit: str
    value: int
    before: Sequence[Maker]
    after: Sequence[Maker]

    @property
    def name(self) -> str:
        return f"{self.limit} = {self.value}"


def _too_large(size: int, properties: bytes = PERSISTENT) -> Maker:
    """Return what makes a TEXT of exactly so many bytes, none of those of the load."""

    def make(number: int) -> Poison:
        head = b'{"message_type": "TEXT", "message_id": "i-%d", "sender_id": "%s"' % (
            number,
            chat.sender(number).encode(),
        )
        tail = b', "send_timestamp": "2026-01-01T00:00:00.000000Z", "text_payload": "'
        body = (head + tail).ljust(size - 2, b"x") + b'"}'
        return Poison(f"a TEXT of {size} bytes", "too_large", Content(body, properties))

    return make


def _no_json(name: str, properties: bytes) -> Maker:
    """Return what makes a message that must be dead-lettered, with properties that may not fit."""

    def make(number: int) -> Poison:
        return Poison(
            f"no JSON, with {name}", "invalid_json", Content(b"%d, " % number, properties)
        )

    return make


def _sound(name: str, properties: bytes) -> Maker:
    """Return what makes a message that must be routed, with properties that may not fit."""

    def make(number: int) -> Oddity:
        return Oddity(name, Content(chat.body(number), properties), chat.routed_fields(number))

    return make


def _large(size: int) -> Maker:
    """Return what makes a message of about so many bytes that must be routed."""
    value = b'"%s"' % (b"x" * size)

    def make(number: int) -> Oddity:
        body = chat.body(number)[:-1] + b', "large": ' + value + b"}"
        fields = {**chat.routed_fields(number), "large": value}
        return Oddity(f"a TEXT of some {size} bytes", Content(body), fields)

    return make


def _named(header: bytes, size: int) -> bytes:
    return persistent({header: long(b"x" * size)})


_SIZE = Ordeal(
    "max_message_size",
    MAX_BYTES,
    before=(
        _too_large(MAX_BYTES + 1),
        _too_large(2 * MAX_BYTES, _named(b"h", 5_000)),
        _too_large(3 * MAX_BYTES),
        _too_large(4 * MAX_BYTES + 1),
    ),
    after=(
        # There is no room for a receiver.
        _too_large(MAX_BYTES),
        _too_large(MAX_BYTES - 6),
        _too_large(MAX_BYTES - 12),
        # A dead letter has more headers than what it was made from.
        _no_json("headers that fill a frame", header_filling(FRAME_MAX)),
        _no_json("headers that nearly do", header_filling(FRAME_MAX - 100)),
        _sound("headers that fill a frame", header_filling(FRAME_MAX)),
    ),
)

# RabbitMQ then sends each body as one frame.
_ANY_FRAME = Ordeal(
    "frame_max",
    0,
    before=(_large(1_000_000), _too_large(1_048_706), _too_large(8 * MAX_BYTES)),
    after=(_large(FRAME_MAX), _large(1_040_000), _too_large(1_048_706)),
)

_SMALL_FRAMES = Ordeal(
    "frame_max",
    _SMALL_FRAME,
    # RabbitMQ divides no headers: it sends what it has, in frames of any size.
    before=(
        _sound("headers of 50,000 bytes", _named(b"h", 50_000)),
        _sound("headers that filled a larger frame", header_filling(FRAME_MAX)),
        _sound("a tracestate of 50,000 bytes", _named(b"tracestate", 50_000)),
        _no_json("headers that filled a larger frame", header_filling(FRAME_MAX)),
        _too_large(3 * MAX_BYTES),
    ),
    after=(
        _large(1_000_000),
        _no_json("headers that fill a frame", header_filling(_SMALL_FRAME)),
        _no_json("headers that nearly do", header_filling(_SMALL_FRAME - 100)),
        _sound("headers that fill a frame", header_filling(_SMALL_FRAME)),
        *(
            _sound(
                f"a tracestate with {spare} bytes to spare",
                header_filling(_SMALL_FRAME - spare, b"tracestate"),
            )
            for spare in (0, 50, 200)
        ),
        _sound(
            "all that is passed on, at its longest",
            persistent(
                {b"tracestate": long(b"x" * 7_000), b"traceparent": long(b"x" * 400)},
                correlation_id=b"x" * 255,
                expiration=b"86400000",
            ),
        ),
    ),
)

ORDEALS = (_ANY_FRAME, _SMALL_FRAMES, _SIZE)
"""What each needs beforehand passes the limit of the one before."""
