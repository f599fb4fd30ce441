"""A stream reader that keeps a poisoned frame from killing the connection.

pamqp raises for a frame that it cannot decode, and aiormq then drops the whole connection;
RabbitMQ delivers the message again, to the same end, for ever (aiormq issue 186). The sender of a
message controls two of the frames that come with it: the content header, and the routing key in
`Basic.Deliver`. Both are tried here first. One that cannot be decoded is replaced by an empty one
of the same message, marked so that the delivery can be recognised.
"""

import asyncio
import struct

from pamqp import commands, constants
from pamqp.header import ContentHeader

from broker.amqp.errors import AmqpError

_HEADER_SIZE = 7
_MAX_FRAME_SIZE = 1 << 20
"""RabbitMQ offers 131,072 bytes. Much more than that is not AMQP, but for example HTTP."""
_FRAME_TYPES = (
    constants.FRAME_METHOD,
    constants.FRAME_HEADER,
    constants.FRAME_BODY,
    constants.FRAME_HEARTBEAT,
)
_DELIVER = struct.pack(">I", commands.Basic.Deliver.index)


class FrameReader(asyncio.StreamReader):
    """Reads frame by frame, and serves each in the pieces that aiormq asks for.

    Args:
        mark: The `app_id` that a replaced content header gets.
        limit: See `asyncio.StreamReader`, in bytes.
        loop: The event loop that reads.
    """

    def __init__(self, *, mark: str, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self._mark = mark
        self._frame = memoryview(b"")
        self._poisoned_delivery = False

    async def readexactly(self, n: int) -> bytes:
        """Return the next `n` bytes; see `asyncio.StreamReader.readexactly`.

        Raises:
            AmqpError: The peer does not speak AMQP.
            asyncio.IncompleteReadError: The stream ended before.
        """
        if not self._frame:
            self._frame = memoryview(await self._read_frame())
        piece, self._frame = self._frame[:n], self._frame[n:]
        return bytes(piece)

    async def _read_frame(self) -> bytes:
        header = await super().readexactly(_HEADER_SIZE)
        if header.startswith(constants.AMQP):
            # RabbitMQ refuses the protocol version; aiormq knows what to say.
            return header
        frame_type, channel, size = struct.unpack(">BHI", header)
        if frame_type not in _FRAME_TYPES or size > _MAX_FRAME_SIZE:
            raise AmqpError("the peer does not speak AMQP 0-9-1")
        rest = await super().readexactly(size + 1)
        if frame_type == constants.FRAME_HEADER:
            payload = self._sound_content_header(rest[:-1])
        elif frame_type == constants.FRAME_METHOD and rest.startswith(_DELIVER):
            payload = self._sound_deliver(rest[:-1])
        else:
            return header + rest
        return struct.pack(">BHI", frame_type, channel, len(payload)) + payload + rest[-1:]

    def _sound_content_header(self, payload: bytes) -> bytes:
        poisoned, self._poisoned_delivery = self._poisoned_delivery, False
        if not poisoned:
            try:
                ContentHeader().unmarshal(payload)
            except Exception:  # noqa: BLE001 - among others RecursionError, OverflowError
                poisoned = True
        if not poisoned:
            return payload
        (body_size,) = struct.unpack_from(">Q", payload, 4)
        properties = commands.Basic.Properties(app_id=self._mark)
        return ContentHeader(body_size=body_size, properties=properties).marshal()

    def _sound_deliver(self, payload: bytes) -> bytes:
        # index, consumer tag (a short string), delivery tag and flags are RabbitMQ's own;
        # exchange and routing key come from the sender.
        end_of_own = 4 + 1 + payload[4] + 8 + 1
        end_of_exchange = end_of_own + 1 + payload[end_of_own]
        try:
            payload[end_of_own + 1 : end_of_exchange].decode()
            payload[end_of_exchange + 1 :].decode()
        except UnicodeDecodeError:
            self._poisoned_delivery = True
            return payload[:end_of_own] + b"\x00\x00"
        return payload
