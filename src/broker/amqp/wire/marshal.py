"""Frames of publishings and acknowledgements, marshalled from constant parts.

pamqp marshals any frame, at a price that a broker pays twice a message. What differs between two
publishings is the body, its size, the message id and a few strings; the rest is made once.
"""

import struct
import time
from collections.abc import Sequence
from functools import lru_cache

from pamqp import commands, encode, frame
from pamqp.constants import FRAME_BODY, FRAME_END, FRAME_END_CHAR, FRAME_HEADER, FRAME_METHOD

from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.raw_properties import (
    NO_PROPERTIES,
    edit_headers,
    join_properties,
    short_string,
    split_properties,
)

_pack_frame = struct.Struct(">BHI").pack
_pack_header_frame = struct.Struct(">BHIHHQ").pack
_HEADER_SIZE = 12
"""Bytes of a content header without flags and properties: class, weight, body size."""
_FRAME_OVERHEAD = 8
_pack_flags = struct.Struct(">H").pack
_pack_ack = struct.Struct(">BHIIQ?B").pack
_ACK_SIZE = 13
_pack_timestamp = struct.Struct(">Q").pack
_PERSISTENT = b"\x02"
_BASIC = 60
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _PRIORITY = (1 << bit for bit in (15, 13, 12, 11))
_CORRELATION_ID, _EXPIRATION, _MESSAGE_ID, _TIMESTAMP, _APP_ID = (
    1 << bit for bit in (10, 8, 7, 6, 3)
)
_FLAGS = _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _APP_ID
_JSON = encode.short_string("application/json")
_LONGEST_MESSAGE_ID = "x" * 40
"""A prefix of 17 characters and a number of 64 bits fit in."""


def marshal_publishing(
    publishing: Publishing, message_id: str, *, channel: int, frame_max: int
) -> Sequence[bytes]:
    """Return the frames of a persistent `basic.publish`, mandatory unless through an exchange.

    Args:
        message_id: The AMQP message id, unless the publishing keeps one; unique.

    Returns:
        The frames in pieces, to be joined with those of others, so that bodies are copied once.
    """
    body = publishing.body
    size = len(body)
    marshalled = _own_properties if publishing.kept is None else _kept_properties
    properties = marshalled(publishing, message_id)
    header_size = _HEADER_SIZE + len(properties)
    is_mandatory = publishing.is_moved or not publishing.exchange
    pieces = [
        _method(publishing.exchange, publishing.queue, is_mandatory, channel),
        _pack_header_frame(FRAME_HEADER, channel, header_size, _BASIC, 0, size),
        properties,
        FRAME_END_CHAR,
    ]
    room = frame_max - _FRAME_OVERHEAD
    for start in range(0, size, room):
        part = body[start : start + room]
        pieces += (_pack_frame(FRAME_BODY, channel, len(part)), part, FRAME_END_CHAR)
    return pieces


def header_frame_size(publishing: Publishing) -> int:
    """Return how many bytes the frame of a publishing's content header has at most.

    RabbitMQ closes the connection of a publisher whose frame is larger than negotiated, and a
    content header is never split.
    """
    marshalled = _own_properties if publishing.kept is None else _kept_properties
    return _FRAME_OVERHEAD + _HEADER_SIZE + len(marshalled(publishing, _LONGEST_MESSAGE_ID))


def _own_properties(publishing: Publishing, message_id: str) -> bytes:
    flags, headers, priority, correlation_id, expiration = _FLAGS, b"", b"", b"", b""
    if publishing.headers:
        flags |= _HEADERS
        headers = encode.field_table(dict(publishing.headers))
    if publishing.priority is not None:
        flags |= _PRIORITY
        priority = bytes([publishing.priority])
    if publishing.correlation_id is not None:
        flags |= _CORRELATION_ID
        correlation_id = encode.short_string(publishing.correlation_id)
    if publishing.expiration is not None:
        flags |= _EXPIRATION
        expiration = encode.short_string(publishing.expiration)
    identity = message_id.encode()
    # In the order of the flags, from the highest.
    return b"".join(
        (
            _pack_flags(flags),
            _JSON,
            headers,
            _PERSISTENT,
            priority,
            correlation_id,
            expiration,
            bytes((len(identity),)),
            identity,
            _pack_timestamp(int(time.time())),
            _short_string(publishing.app_id),
        )
    )


def _kept_properties(publishing: Publishing, message_id: str) -> bytes:
    if publishing.is_moved:
        return publishing.kept or NO_PROPERTIES
    properties = split_properties(publishing.kept or NO_PROPERTIES)
    edit_headers(properties, add=publishing.headers)
    properties["delivery_mode"] = _PERSISTENT
    properties.setdefault("message_id", short_string(message_id))
    return join_properties(properties)


def marshal_ack(tag: int, *, channel: int, multiple: bool = True) -> bytes:
    """Return the frame that acknowledges all deliveries up to a tag, or that one alone."""
    # By hand: pamqp takes a twentieth of the CPU time of a message that comes alone.
    method = commands.Basic.Ack.index
    return _pack_ack(FRAME_METHOD, channel, _ACK_SIZE, method, tag, multiple, FRAME_END)


@lru_cache(maxsize=64)
def _method(exchange: str, queue: str, is_mandatory: bool, channel: int) -> bytes:
    method = commands.Basic.Publish(exchange=exchange, routing_key=queue, mandatory=is_mandatory)
    return frame.marshal(method, channel)


@lru_cache(maxsize=64)
def _short_string(text: str) -> bytes:
    return encode.short_string(text)
