"""A message as bytes: taken and published again without anybody looking into its properties."""

import struct

import msgspec
from pamqp import commands, frame

from broker.amqp.marshal import marshal_content

_pack_header = struct.Struct(">HHQ").pack
_BASIC = 60
_USER_ID = 1 << 4
_SHORT_STRING, _TABLE = -1, -4
_BEFORE_USER_ID = {
    1 << 15: _SHORT_STRING,  # content_type
    1 << 14: _SHORT_STRING,  # content_encoding
    1 << 13: _TABLE,  # headers
    1 << 12: 1,  # delivery_mode
    1 << 11: 1,  # priority
    1 << 10: _SHORT_STRING,  # correlation_id
    1 << 9: _SHORT_STRING,  # reply_to
    1 << 8: _SHORT_STRING,  # expiration
    1 << 7: _SHORT_STRING,  # message_id
    1 << 6: 8,  # timestamp
    1 << 5: _SHORT_STRING,  # type
}
"""What stands before `user_id`, by its flag: a size, or the negative size of its length field."""


class RawMessage(msgspec.Struct, frozen=True):
    """A message that was delivered.

    Attributes:
        tag: The delivery tag.
        properties: Flags and properties, byte for byte.
        body: The body.
    """

    tag: int
    properties: bytes
    body: bytes

    def __repr__(self) -> str:
        return f"<RawMessage {self.tag}>"


def marshal_raw(
    exchange: str, properties: bytes, body: bytes, *, channel: int, frame_max: int
) -> bytes:
    """Return the frames of a mandatory `basic.publish` with properties as they are.

    Args:
        exchange: The exchange; the routing key is empty.
        properties: Flags and properties.
        body: The body.
        channel: The channel's number.
        frame_max: The largest frame that RabbitMQ takes, in bytes.
    """
    method = commands.Basic.Publish(exchange=exchange, routing_key="", mandatory=True)
    return marshal_content(
        frame.marshal(method, channel),
        _pack_header(_BASIC, 0, len(body)) + properties,
        body,
        channel=channel,
        frame_max=frame_max,
    )


def without_foreign_user_id(properties: bytes, user: str) -> bytes:
    """Return properties without a `user_id` that is not the user's own, which RabbitMQ refuses.

    Args:
        properties: Flags and properties; of what cannot be understood nothing is changed.
        user: Who publishes.
    """
    try:
        (flags,) = struct.unpack_from(">H", properties)
        if not flags & _USER_ID:
            return properties
        start = 2
        for flag, size in _BEFORE_USER_ID.items():
            if flags & flag:
                start += _size(properties, start, size)
        end = start + _size(properties, start, _SHORT_STRING)
    except (struct.error, IndexError):
        return properties
    if end > len(properties) or properties[start + 1 : end] == user.encode():
        return properties
    return struct.pack(">H", flags & ~_USER_ID) + properties[2:start] + properties[end:]


def _size(properties: bytes, start: int, size: int) -> int:
    match size:
        case -1:
            return 1 + properties[start]
        case -4:
            (length,) = struct.unpack_from(">I", properties, start)
            return 4 + int(length)
    return size
