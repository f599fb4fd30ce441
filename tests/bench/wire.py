"""A plain AMQP client on a blocking socket: it loads queues, watches them and takes from them.

The contenders are not measured by the code of any of them, and loading 40,000 messages takes a
second.
"""

import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import batched, islice
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pamqp.frame
import trio
from pamqp import commands
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Connection, Queue
from pamqp.constants import FRAME_BODY, FRAME_END_CHAR, FRAME_METHOD
from pamqp.header import ContentHeader, ProtocolHeader

if TYPE_CHECKING:
    from pamqp.common import FieldTable

_CHANNEL = 1
_TIMEOUT = 60.0
_READ_SIZE = 1 << 20
_MESSAGES_PER_WRITE = 50
_unpack_frame = struct.Struct(">BHI").unpack_from
_pack_frame = struct.Struct(">BHI").pack
_unpack_body_size = struct.Struct(">Q").unpack_from
_DELIVER = struct.pack(">I", Basic.Deliver.index)


async def in_thread[*Ts, T](function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that blocks. When cancelled, it is left to itself: Ctrl-C works at once."""
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


class Wire:
    """One connection with one channel. Blocks; not for use by two threads at once.

    Args:
        host: RabbitMQ's host.
        port: Its port. The login is guest's.

    Raises:
        OSError: Of any method: the connection was lost or RabbitMQ did not answer in a minute.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), _TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._position = 0
        self._socket.sendall(ProtocolHeader().marshal())
        self._answer()
        self._send(Connection.StartOk(response="\0guest\0guest"), 0)
        tune = self._answer()
        assert isinstance(tune, Connection.Tune)
        self._frame_max = tune.frame_max
        self._send(Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self._send(Connection.Open(), 0)
        self._answer()
        self._call(Channel.Open())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def set_timeout(self, seconds: float) -> None:
        """Wait for RabbitMQ so long from now on."""
        self._socket.settimeout(seconds)

    def make_anew(self, queue: str, queue_type: str = "classic") -> None:
        """Delete a durable queue with all that is in it, and create it.

        Args:
            queue: Its name.
            queue_type: What it is to be: classic or quorum.
        """
        self._call(Queue.Delete(queue=queue))
        # No argument for what is the default: that is how everybody else declares them.
        arguments: FieldTable = {} if queue_type == "classic" else {"x-queue-type": queue_type}
        self._call(Queue.Declare(queue=queue, durable=True, arguments=arguments))

    def ready(self, queue: str) -> int:
        """Return how many messages wait in a queue that exists."""
        return self._found(queue).message_count or 0

    def consumers(self, queue: str) -> int:
        """Return how many consumers a queue that exists has."""
        return self._found(queue).consumer_count or 0

    def publish(self, queue: str, bodies: Iterable[bytes]) -> None:
        """Publish persistent messages, without waiting for confirms."""
        for some in batched(bodies, _MESSAGES_PER_WRITE, strict=False):
            self._socket.sendall(b"".join(self._marshalled(queue, body) for body in some))

    def take(self, queue: str, count: int) -> list[bytes]:
        """Take so many messages out of a queue that has them."""
        return list(islice(self.consume(queue), count))

    def consume(self, queue: str) -> Iterator[bytes]:
        """Yield messages as they arrive, without acknowledgements.

        Use the connection for nothing else afterwards.
        """
        self._call(Basic.Consume(queue=queue, no_ack=True))
        missing, parts = 0, list[bytes]()
        while True:
            kind, payload = self._frame()
            if kind == FRAME_METHOD:
                if not payload.startswith(_DELIVER):
                    raise ConnectionError("RabbitMQ sent something else than a delivery")
            elif kind == FRAME_BODY:
                parts.append(payload)
                missing -= len(payload)
                if missing == 0:
                    yield b"".join(parts)
            else:
                (missing,) = _unpack_body_size(payload, 4)
                parts.clear()

    def _marshalled(self, queue: str, body: bytes) -> bytes:
        room = self._frame_max - 8
        return b"".join(
            (
                _beginning(queue, len(body)),
                *(
                    _pack_frame(FRAME_BODY, _CHANNEL, len(part)) + part + FRAME_END_CHAR
                    for part in (body[at : at + room] for at in range(0, len(body), room))
                ),
            )
        )

    def _found(self, queue: str) -> Queue.DeclareOk:
        answer = self._call(Queue.Declare(queue=queue, passive=True))
        assert isinstance(answer, Queue.DeclareOk)
        return answer

    def _call(self, method: Frame) -> Frame:
        self._send(method, _CHANNEL)
        return self._answer()

    def _send(self, method: Frame, channel: int) -> None:
        self._socket.sendall(pamqp.frame.marshal(method, channel))

    def _answer(self) -> Frame:
        kind, payload = self._frame()
        frame = _pack_frame(kind, 0, len(payload)) + payload + FRAME_END_CHAR
        _, _, method = pamqp.frame.unmarshal(frame)
        if not isinstance(method, Frame) or isinstance(method, Channel.Close | Connection.Close):
            raise ConnectionError(f"RabbitMQ answered {method}")
        return method

    def _frame(self) -> tuple[int, bytes]:
        while True:
            if len(self._buffer) - self._position >= 8:
                kind, _, size = _unpack_frame(self._buffer, self._position)
                end = self._position + size + 8
                if end <= len(self._buffer):
                    payload = self._buffer[self._position + 7 : end - 1]
                    self._position = end
                    return kind, payload
            received = self._socket.recv(_READ_SIZE)
            if not received:
                raise ConnectionError("RabbitMQ closed the connection")
            self._buffer = self._buffer[self._position :] + received
            self._position = 0


_beginnings: dict[tuple[str, int], bytes] = {}


def _beginning(queue: str, size: int) -> bytes:
    """Return the frames before the body: the method and the header."""
    if (queue, size) not in _beginnings:
        properties = Basic.Properties(content_type="application/json", delivery_mode=2)
        _beginnings[queue, size] = pamqp.frame.marshal(
            commands.Basic.Publish(routing_key=queue), _CHANNEL
        ) + pamqp.frame.marshal(ContentHeader(0, size, properties), _CHANNEL)
    return _beginnings[queue, size]
