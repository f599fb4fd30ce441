"""A message's content, put together from the frames in which it arrives."""

import struct

from pamqp.constants import FRAME_HEADER

_unpack_size = struct.Struct(">Q").unpack_from


class Content:
    """The content that follows a delivery or an answer, as far as it has arrived.

    Attributes:
        properties: Flags and properties, byte for byte; empty before the header has arrived.
    """

    def __init__(self) -> None:
        self.properties = b""
        self._missing = 0
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        """The body, as far as it has arrived."""
        return b"".join(self._parts)

    def take(self, frame_type: int, payload: bytes) -> bool:
        """Take a frame of the header or the body, and return whether that was the last."""
        if frame_type == FRAME_HEADER:
            (self._missing,) = _unpack_size(payload, 4)
            self.properties = payload[12:]
        else:
            self._parts.append(payload)
            self._missing -= len(payload)
        return self._missing <= 0
