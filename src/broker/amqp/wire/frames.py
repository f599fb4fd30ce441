"""The stream of frames, taken apart before aiormq sees it.

aiormq reads a frame in three steps, decodes it with pamqp, puts it in a queue, and starts a task
for each delivery. That is most of what a message costs, and a frame that pamqp cannot decode kills
the whole connection: RabbitMQ delivers it again, to the same end, for ever (aiormq issue 186).

So the frames that come by the thousand are taken out of the stream here, as they arrive:
deliveries, returned messages and confirms of the channels with a `FrameTaker`. Everything else
goes on to aiormq, which keeps the connection, the channels and all their calls. Nothing of aiormq's
inside is touched; it is handed a stream reader, which its `TransportFactory` is meant for.
"""

import asyncio
import struct

from pamqp import commands
from pamqp.constants import AMQP, FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD
from pamqp.heartbeat import Heartbeat

from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.takers import DeliverySink, FrameTaker, delivery_taker, index
from broker.core.messages import MAX_BODY_BYTES

_HEADER_SIZE = 7
_FRAME_END = 0xCE
_OVERHEAD = _HEADER_SIZE + 1
_PROTOCOL_HEADER_SIZE = 8
MAX_FRAME_SIZE = 131_072
"""Bytes of the largest frame that the broker agrees to: RabbitMQ's own default. Without a limit,
which a `frame_max` of 0 asks for, RabbitMQ sends a body of any size as a single frame."""
_MAX_HEADER_SIZE = MAX_BODY_BYTES
"""Bytes of the largest content header. RabbitMQ never splits one: it comes as large as its sender
was allowed to make it, whatever the broker agreed to."""
_HEARTBEAT_INTERVAL = 1.0
"""Seconds after which aiormq is shown a sign of life for the frames that it does not see."""

_FRAME_TYPES = frozenset({FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT})
_HEARTBEAT = Heartbeat().marshal()

_unpack_frame = struct.Struct(">BHI").unpack_from
_FRAME_MAX = struct.Struct(">I")
_FRAME_MAX_AT = _HEADER_SIZE + 6
"""Where a frame with `connection.tune` has its `frame_max`: behind class, method, channel limit."""
_CLOSE, _TUNE = index(commands.Connection.Close), index(commands.Connection.Tune)


class FrameReader(asyncio.StreamReader):
    """A stream reader that shows aiormq only the frames that are left for it.

    Attributes:
        close_text: What RabbitMQ said when it closed the connection; empty until then.
        heard_at: When something arrived last, by the clock of the event loop.
    """

    def __init__(self, *, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.close_text = ""
        self._event_loop = loop
        self._takers: dict[int, FrameTaker] = {}
        self._sinks: list[DeliverySink] = []
        self._unparsed = b""
        self.heard_at = self._shown_at = loop.time()

    @property
    def greeting(self) -> bytes:
        """The beginning of what is no AMQP 0-9-1; empty when nothing of the kind has come."""
        begin = self._unparsed[:_PROTOCOL_HEADER_SIZE]
        # A TLS alert is shorter than any frame.
        return begin if begin and begin[0] not in _FRAME_TYPES else b""

    def add_taker(self, channel: int, taker: FrameTaker) -> None:
        """Show all frames of a channel to a taker first, from now on."""
        self._takers[channel] = taker

    def add_sink(self, channel: int, sink: DeliverySink) -> None:
        """Hand the deliveries of a channel to a sink, from now on."""
        self.add_taker(channel, delivery_taker(sink))
        self._sinks.append(sink)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # asyncio gives bytes
        """Take what arrived from the network; called by asyncio."""
        if self.exception() is not None:
            # What follows nonsense must not be taken for a confirm.
            return
        self.heard_at = self._event_loop.time()
        unparsed = self._unparsed + data if self._unparsed else data
        position, size = 0, len(unparsed)
        shown: list[bytes] = []
        while size - position >= _OVERHEAD:
            frame_type, channel, payload_size = _unpack_frame(unparsed, position)
            if frame_type not in _FRAME_TYPES or (
                payload_size > MAX_FRAME_SIZE and payload_size > self._largest(frame_type, channel)
            ):
                # Not AMQP, but for example HTTP.
                if not unparsed.startswith(AMQP, position):
                    self._unparsed = unparsed[position:]
                    self.set_exception(AmqpError("the peer does not speak AMQP 0-9-1"))
                    return
                # A RabbitMQ that refuses the version; aiormq knows what to say.
                end = position + _PROTOCOL_HEADER_SIZE
            else:
                end = position + payload_size + _OVERHEAD
                if end > size:
                    break
                if unparsed[end - 1] != _FRAME_END:
                    self._give_up(None)
                    return
                payload = unparsed[position + _HEADER_SIZE : end - 1]
                taker = self._takers.get(channel)
                try:
                    if taker is not None:
                        taken = taker.take(frame_type, payload)
                    else:
                        taken = False
                        self._note_close(frame_type, channel, payload)
                except (KeyError, IndexError, struct.error) as error:
                    # A content that nothing announced, or a payload that ends too early. asyncio
                    # would log what is raised here with a traceback, as a bug of this process.
                    self._give_up(error)
                    return
                if taken:
                    position = end
                    continue
            shown.append(_with_frame_limit(unparsed[position:end]))
            position = end
        self._unparsed = unparsed[position:]
        for sink in self._sinks:
            sink.flush()
        self._show(shown)

    def _largest(self, frame_type: int, channel: int) -> int:
        is_content = channel in self._takers and frame_type == FRAME_HEADER
        return _MAX_HEADER_SIZE if is_content else MAX_FRAME_SIZE

    def _note_close(self, frame_type: int, channel: int, payload: bytes) -> None:
        if channel == 0 and frame_type == FRAME_METHOD and payload.startswith(_CLOSE):
            self.close_text = payload[7 : 7 + payload[6]].decode(errors="replace")

    def _give_up(self, cause: Exception | None) -> None:
        broken = AmqpError("the peer sent a frame that breaks AMQP 0-9-1")
        broken.__cause__ = cause
        self.set_exception(broken)

    def _show(self, frames: list[bytes]) -> None:
        if frames:
            super().feed_data(b"".join(frames))
        elif self._takers and self.heard_at - self._shown_at > _HEARTBEAT_INTERVAL:
            # RabbitMQ sends no heartbeats while it sends other frames, and aiormq, which sees
            # none of these, would take the connection for dead. Before there are takers it sees
            # all, and in the handshake expects no heartbeat.
            super().feed_data(_HEARTBEAT)
        else:
            return
        self._shown_at = self.heard_at


def _with_frame_limit(frame: bytes) -> bytes:
    """Return a frame for aiormq, which agrees to whatever `frame_max` RabbitMQ offers."""
    if not frame.startswith(_TUNE, _HEADER_SIZE):
        return frame
    (offered,) = _FRAME_MAX.unpack_from(frame, _FRAME_MAX_AT)
    agreed = min(offered or MAX_FRAME_SIZE, MAX_FRAME_SIZE)
    end = _FRAME_MAX_AT + _FRAME_MAX.size
    return frame[:_FRAME_MAX_AT] + _FRAME_MAX.pack(agreed) + frame[end:]
