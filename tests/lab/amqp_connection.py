"""A plain AMQP connection on a blocking socket. It shares no code with the broker or with aiormq.

It is fast enough to load and watch what the benchmark measures.
"""

import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import batched, islice
from random import sample
from types import TracebackType
from typing import Self

import pamqp.frame
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue
from pamqp.constants import FRAME_END_CHAR, FRAME_METHOD
from pamqp.header import ContentHeader, ProtocolHeader
from yarl import URL

from tests.lab.raw_content import FRAME_MAX, Content, content_frames

type Arguments = Mapping[str, str | int]

_CHANNEL = 1
_CONSUMER = "tests"
_TIMEOUT = 60.0
_LOOK_INTERVAL = 0.05
_READ_SIZE = 1 << 20
_MESSAGES_PER_WRITE = 50
_unpack_frame = struct.Struct(">BHI").unpack_from
_pack_frame = struct.Struct(">BHI").pack
_unpack_body_size = struct.Struct(">Q").unpack_from
_DELIVER = struct.pack(">I", Basic.Deliver.index)
_GET_OK = struct.pack(">I", Basic.GetOk.index)


class RefusedError(ConnectionError):
    """RabbitMQ closed the channel or the connection."""

    def __init__(self, answer: Channel.Close | Connection.Close) -> None:
        super().__init__(f"RabbitMQ answered {answer.reply_code} {answer.reply_text}")
        self.code = answer.reply_code


@dataclass(frozen=True)
class Message:
    """A message out of a queue. Only what is asked for is decoded."""

    raw_method: bytes
    raw_header: bytes
    body: bytes

    @cached_property
    def header(self) -> ContentHeader:
        header = ContentHeader()
        header.unmarshal(self.raw_header)
        return header

    @property
    def redelivered(self) -> bool:
        method = _unmarshalled(FRAME_METHOD, self.raw_method)
        assert isinstance(method, Basic.Deliver | Basic.GetOk)
        return method.redelivered


@dataclass(frozen=True)
class QueueState:
    """How many messages wait in a queue, without those that consumers hold, and its consumers."""

    ready: int
    consumers: int


class AmqpConnection:
    """One connection with one channel. Blocks; not for use by two threads at once.

    Attributes:
        published: How many messages were published. They are numbered from 1.

    Raises:
        OSError: Of any method: the connection was lost, or RabbitMQ did not answer within
            `timeout` seconds.
        RefusedError: Of any method: RabbitMQ did not do it.
    """

    def __init__(self, url: str, timeout: float = _TIMEOUT) -> None:
        node = URL(url)
        self._socket = socket.create_connection((node.host, node.port), timeout)
        self._buffer = b""
        self._position = 0
        self.published = 0
        self._unconfirmed: set[int] = set()
        try:
            self._log_in(node)
        except BaseException:
            self._socket.close()
            raise

    def _log_in(self, node: URL) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(ProtocolHeader().marshal())
        self._answer()
        login = f"\0{node.user}\0{node.password}"
        start = Connection.StartOk(response=login)
        start.client_properties = {"capabilities": {"consumer_cancel_notify": True}}
        self._send(start, 0)
        tune = self._answer()
        assert isinstance(tune, Connection.Tune)
        self._frame_max = tune.frame_max or FRAME_MAX  # 0: any size
        self._send(Connection.TuneOk(tune.channel_max, tune.frame_max, 0), 0)
        self._send(Connection.Open(node.path.removeprefix("/") or "/"), 0)
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
        self.close()

    def close(self) -> None:
        self._socket.close()

    def set_timeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def declare(
        self,
        *queues: str,
        exclusive: bool = False,
        arguments: Mapping[str, str | int] | None = None,
    ) -> None:
        """Declare queues, durable unless they are exclusive."""
        for queue in queues:
            self._call(
                Queue.Declare(
                    queue=queue,
                    durable=not exclusive,
                    exclusive=exclusive,
                    arguments=dict(arguments or {}),
                )
            )

    def declare_fanout(self, exchange: str, *, auto_delete: bool = False) -> None:
        """Declare an exchange that heeds no routing key, durable unless it deletes itself."""
        durable = not auto_delete
        self._call(Exchange.Declare(0, exchange, "fanout", False, durable, auto_delete))

    def bind(self, queue: str, exchange: str) -> None:
        self._call(Queue.Bind(queue=queue, exchange=exchange))

    def delete(self, *queues: str, if_empty: bool = False) -> None:
        for queue in queues:
            self._call(Queue.Delete(queue=queue, if_empty=if_empty))

    def look(self, queue: str) -> QueueState:
        answer = self._call(Queue.Declare(queue=queue, passive=True))
        assert isinstance(answer, Queue.DeclareOk)
        return QueueState(answer.message_count or 0, answer.consumer_count or 0)

    def ready(self, queue: str) -> int:
        return self.look(queue).ready

    def select_confirms(self) -> None:
        """Let RabbitMQ confirm what is published from now on; see `confirmed`."""
        self._call(Confirm.Select())

    def publish(self, queue: str, contents: Iterable[Content], exchange: str = "") -> None:
        """Publish to a queue or, what has a routing key, to an exchange. Does not wait."""
        for some in batched(contents, _MESSAGES_PER_WRITE, strict=False):
            self._socket.sendall(b"".join(self._frames(queue, exchange, one) for one in some))
            numbers = range(self.published + 1, self.published + len(some) + 1)
            self.published = numbers[-1]
            self._unconfirmed.update(numbers)

    def confirmed(self) -> Iterator[int]:
        """Yield the numbers of publishings as they are confirmed, until all are.

        Raises:
            ConnectionError: RabbitMQ refused one.
        """
        while self._unconfirmed:
            answer = self._answer()
            if not isinstance(answer, Basic.Ack):
                raise ConnectionError(f"RabbitMQ answered {answer.name} to a message")
            tag = answer.delivery_tag or 0
            numbers = [one for one in self._unconfirmed if one <= tag] if answer.multiple else [tag]
            self._unconfirmed.difference_update(numbers)
            yield from numbers

    def get(self, queue: str) -> Message | None:
        self._send(Basic.Get(queue=queue, no_ack=True), _CHANNEL)
        method = self._method()
        return self._message(method) if method.startswith(_GET_OK) else None

    def take_all(self, queue: str) -> list[Message]:
        """Take all that is in a queue. Use the connection for nothing else afterwards."""
        ready = self.ready(queue)
        return list(islice(self.consume(queue), ready)) if ready else []

    def start_consumer(self, queue: str, *, exclusive: bool = False) -> None:
        consume = Basic.Consume(
            queue=queue, consumer_tag=_CONSUMER, no_ack=True, exclusive=exclusive
        )
        self._call(consume)

    def consume(self, queue: str, is_over: Callable[[], bool] | None = None) -> Iterator[Message]:
        """Yield messages as they arrive, without acknowledgements, until the queue is deleted.

        Args:
            is_over: Looked at all the time; ends the consumer, and then what has arrived is
                yielded. Without it, use the connection for nothing else afterwards.
        """
        self.start_consumer(queue)
        while True:
            if is_over is not None and not self._is_readable():
                if is_over():
                    self._send(Basic.Cancel(_CONSUMER), _CHANNEL)
                    is_over = None
                continue
            method = self._method()
            if not method.startswith(_DELIVER):
                return  # cancelled, by either side
            yield self._message(method)

    def _is_readable(self) -> bool:
        return self._position < len(self._buffer) or bool(
            select.select([self._socket], [], [], _LOOK_INTERVAL)[0]
        )

    def _message(self, method: bytes) -> Message:
        _, header = self._frame()
        (missing,) = _unpack_body_size(header, 4)
        parts = []
        while missing:
            parts.append(self._frame()[1])
            missing -= len(parts[-1])
        return Message(method, header, b"".join(parts))

    def _frames(self, queue: str, exchange: str, content: Content) -> bytes:
        is_direct = content.routing_key is None
        return content_frames(
            _CHANNEL,
            b"" if is_direct else exchange.encode(),
            queue.encode() if content.routing_key is None else content.routing_key,
            content.properties,
            content.body,
            frame_max=self._frame_max,
        )

    def _call(self, method: Frame) -> Frame:
        self._send(method, _CHANNEL)
        return self._answer()

    def _send(self, method: Frame, channel: int) -> None:
        self._socket.sendall(pamqp.frame.marshal(method, channel))

    def _answer(self) -> Frame:
        return _unmarshalled(FRAME_METHOD, self._method())

    def _method(self) -> bytes:
        kind, payload = self._frame()
        if kind != FRAME_METHOD:
            raise ConnectionError(f"RabbitMQ sent a frame of type {kind}")
        if payload.startswith(_CLOSINGS):
            answer = _unmarshalled(kind, payload)
            assert isinstance(answer, Channel.Close | Connection.Close)
            raise RefusedError(answer)
        return payload

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


_CLOSINGS = tuple(struct.pack(">I", one.index) for one in (Channel.Close, Connection.Close))


def _unmarshalled(kind: int, payload: bytes) -> Frame:
    frame = _pack_frame(kind, 0, len(payload)) + payload + FRAME_END_CHAR
    _, _, method = pamqp.frame.unmarshal(frame)
    assert isinstance(method, Frame)
    return method


def connect(*urls: str, timeout: float = _TIMEOUT) -> AmqpConnection:
    """Connect to any node that answers.

    Raises:
        OSError: None does.
    """
    *others, last = sample(urls, len(urls))
    for url in others:
        try:
            return AmqpConnection(url, timeout)
        except OSError:
            continue
    return AmqpConnection(last, timeout)
