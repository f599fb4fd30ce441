"""A message as bytes: taken and published again without anybody looking into its properties."""

import struct

import msgspec
from pamqp import commands, frame

from broker.amqp.wire.marshal import marshal_content

_pack_header = struct.Struct(">HHQ").pack
_BASIC = 60


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
