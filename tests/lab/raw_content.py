"""AMQP messages made by hand, byte by byte: what no library would let pass, and RabbitMQ does."""

import struct
from collections.abc import Mapping

import msgspec

FLAG_CONTENT_TYPE = 1 << 15
FLAG_HEADERS = 1 << 13
FLAG_DELIVERY_MODE = 1 << 12
FLAG_PRIORITY = 1 << 11
FLAG_CORRELATION_ID = 1 << 10
FLAG_EXPIRATION = 1 << 8
FLAG_TIMESTAMP = 1 << 6
FRAME_MAX = 131_072
"""Bytes of the largest frame that RabbitMQ takes by default."""
_FRAME_OVERHEAD = 8
_METHOD, _HEADER, _BODY = 1, 2, 3
_FRAME_END = b"\xce"


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + _FRAME_END


def content_frames(
    channel: int,
    exchange: bytes,
    routing_key: bytes,
    properties: bytes,
    body: bytes,
    *,
    frame_max: int = FRAME_MAX,
) -> bytes:
    """Return `Basic.Publish` with its content, whatever pamqp thinks of it.

    Args:
        exchange: Where to publish; empty for the default exchange.
        routing_key: Any bytes, at most 255.
        frame_max: Bytes of the largest frame; only the body is divided.
    """
    method = struct.pack(">HHH", 60, 40, 0) + short(exchange) + short(routing_key) + b"\x00"
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties
    most = frame_max - _FRAME_OVERHEAD
    pieces = (body[start : start + most] for start in range(0, len(body), most))
    return (
        frame(_METHOD, channel, method)
        + frame(_HEADER, channel, header)
        + b"".join(frame(_BODY, channel, piece) for piece in pieces)
    )


def flags(value: int) -> bytes:
    """Return the flags of properties, which come before them."""
    return struct.pack(">H", value)


def short(text: bytes) -> bytes:
    """Return a short string, of at most 255 bytes: most of the properties are such."""
    return bytes([len(text)]) + text


def long(text: bytes) -> bytes:
    """Return a field value: a long string, with its type."""
    return b"S" + struct.pack(">I", len(text)) + text


def array(*values: bytes) -> bytes:
    """Return a field value: an array of field values."""
    joined = b"".join(values)
    return b"A" + struct.pack(">I", len(joined)) + joined


def header_table(key: bytes, value: bytes) -> bytes:
    """Return properties with one header; the value carries its type."""
    table = short(key) + value
    return flags(FLAG_HEADERS) + struct.pack(">I", len(table)) + table


def persistent(
    headers: Mapping[bytes, bytes], *, correlation_id: bytes = b"", expiration: bytes = b""
) -> bytes:
    """Return properties of a persistent message with headers, and with more if it is given.

    Args:
        correlation_id: Comes with the highest priority; at most 255 bytes.
        expiration: Milliseconds in decimal digits, likewise.
    """
    table = b"".join(short(key) + value for key, value in headers.items())
    given = FLAG_HEADERS | FLAG_DELIVERY_MODE
    more = b""
    if correlation_id and expiration:
        given |= FLAG_PRIORITY | FLAG_CORRELATION_ID | FLAG_EXPIRATION
        more = b"\xff" + short(correlation_id) + short(expiration)
    return flags(given) + struct.pack(">I", len(table)) + table + b"\x02" + more


def header_filling(frame_max: int, key: bytes = b"h") -> bytes:
    """Return properties of a persistent message with one header, so that they fill a frame."""
    without = _FRAME_OVERHEAD + struct.calcsize(">HHQ") + len(persistent({key: long(b"")}))
    return persistent({key: long(b"x" * (frame_max - without))})


def nested_table(depth: int) -> bytes:
    """Return a field value: a table in a table in a table."""
    table = b""
    for _ in range(depth):
        entry = b"\x01aF" + struct.pack(">I", len(table)) + table
        table = entry
    return b"F" + struct.pack(">I", len(table)) + table


PERSISTENT = flags(FLAG_CONTENT_TYPE | FLAG_DELIVERY_MODE) + short(b"application/json") + b"\x02"
"""The properties of an ordinary message."""


class Content(msgspec.Struct, frozen=True):
    """A message made by hand.

    Attributes:
        routing_key: When there is one it goes through an exchange that heeds no routing key, and
            RabbitMQ itself follows no `CC` header then; else straight to its queue.
    """

    body: bytes
    properties: bytes = PERSISTENT
    routing_key: bytes | None = None
