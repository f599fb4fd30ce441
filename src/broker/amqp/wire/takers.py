"""What takes the frames of a channel that aiormq need not see."""

import struct
from collections.abc import Callable
from typing import Protocol

from pamqp.base import Frame
from pamqp.commands import Basic
from pamqp.constants import FRAME_HEADER, FRAME_METHOD

from broker.amqp.wire.properties import Properties, decode_properties

_unpack_size = struct.Struct(">Q").unpack_from
_unpack_tag = struct.Struct(">QB").unpack_from


class FrameTaker(Protocol):
    """Is shown every frame of one channel first."""

    def take(self, frame_type: int, payload: bytes) -> bool:
        """Take a frame, or return False to leave it to aiormq.

        Raises:
            KeyError: The frame breaks AMQP; so do IndexError and `struct.error`.
        """


class DeliverySink(Protocol):
    """Takes what arrives on a channel that consumes. Its methods must not raise."""

    def delivered(
        self, tag: int, *, redelivered: bool, properties: Properties, body: bytes
    ) -> None:
        """Take a delivery."""

    def flush(self) -> None:
        """Hand on what was collected; called when all that arrived together has been taken."""


class ConfirmSink(Protocol):
    """Takes what becomes of the publishings of a channel. Its methods must not raise."""

    def returned(self, properties: Properties) -> None:
        """Take note that RabbitMQ returned a message as unroutable; its confirm follows."""

    def confirmed(self, tag: int, *, multiple: bool, positive: bool) -> None:
        """Take a confirm: `basic.ack`, or `basic.nack` when it is not positive."""


class ContentTaker[T]:
    """Takes one kind of method, and the contents that follow it, each in several frames."""

    def __init__(
        self,
        method: type[Frame],
        read: Callable[[bytes], T],
        complete: Callable[[T, bytes, bytes], None],
    ) -> None:
        self._method = index(method)
        self._read = read
        self._complete = complete
        self._announced: T | None = None
        self._properties = b""
        self._parts: list[bytes] = []
        self._missing = 0

    def take(self, frame_type: int, payload: bytes) -> bool:
        """See `FrameTaker`."""
        if frame_type == FRAME_METHOD:
            if payload[:4] != self._method:
                return False
            self._announced = self._read(payload)
            return True
        if self._announced is None:
            raise KeyError("a content that nothing announced")
        if frame_type == FRAME_HEADER:
            (self._missing,) = _unpack_size(payload, 4)
            self._properties = payload[12:]
        else:
            self._parts.append(payload)
            self._missing -= len(payload)
        if self._missing <= 0:
            announced, self._announced = self._announced, None
            body, self._parts = b"".join(self._parts), []
            self._complete(announced, self._properties, body)
        return True


def delivery_taker(sink: DeliverySink) -> FrameTaker:
    """Return what takes deliveries for a sink."""

    def complete(announced: tuple[int, int], properties: bytes, body: bytes) -> None:
        tag, redelivered = announced
        sink.delivered(
            tag,
            redelivered=bool(redelivered),
            properties=decode_properties(properties),
            body=body,
        )

    return ContentTaker(Basic.Deliver, read_delivery, complete)


class ConfirmTaker:
    """Takes confirms and returned messages."""

    def __init__(self, sink: ConfirmSink) -> None:
        self._sink = sink
        self._returned = ContentTaker(Basic.Return, bytes, self._return)

    def take(self, frame_type: int, payload: bytes) -> bool:
        """See `FrameTaker`."""
        method = payload[:4]
        if frame_type == FRAME_METHOD and method in (_ACK, _NACK):
            tag, flags = _unpack_tag(payload, 4)
            self._sink.confirmed(tag, multiple=bool(flags & 1), positive=method == _ACK)
            return True
        return self._returned.take(frame_type, payload)

    def _return(self, _method: bytes, properties: bytes, _body: bytes) -> None:
        self._sink.returned(decode_properties(properties))


def read_delivery(payload: bytes) -> tuple[int, int]:
    """Return the delivery tag of a `basic.deliver`, and whether it was delivered before."""
    # The consumer's tag stands before, names that the sender chose, in any bytes, behind it.
    tag, redelivered = _unpack_tag(payload, 5 + payload[4])
    return tag, redelivered


def index(method: type[Frame]) -> bytes:
    """Return the four bytes with which the payload of a method begins."""
    return struct.pack(">I", method.index)


_ACK, _NACK = index(Basic.Ack), index(Basic.Nack)
