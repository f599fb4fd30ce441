"""aiormq connections: opened with a deadline, closed with a deadline."""

import asyncio
import socket
import ssl
from typing import Any

import aiohappyeyeballs
import aiormq
from aiormq.connection import TransportFactory
from aiormq.exceptions import InvalidFrameError
from yarl import URL

from broker.amqp.errors import describe, translated
from broker.amqp.frames import FrameReader, FrameSink, FrameTaker
from broker.amqp.look_up import look_up
from broker.amqp.writer import FrameWriter
from broker.endpoints import AmqpEndpoint

CONNECT_TIMEOUT = 10.0
"""Seconds that opening a connection may take, login included."""
HEARTBEAT = 10
"""Seconds between signs of life that both sides promise each other."""
_CLOSE_TIMEOUT = 1.0
"""Seconds for the farewell. A node that blocks or hangs would otherwise hold it up for minutes."""
_ABORT_TIMEOUT = 0.5
_TLS_SHUTDOWN_TIMEOUT = 1.0
_READ_LIMIT = 1 << 18
_ATTEMPT_DELAY = 0.25
"""Seconds, as RFC 8305 recommends, after which the next address of a host is tried beside one that
has not answered yet: one that swallows everything must not use up `CONNECT_TIMEOUT`."""


class Connection:
    """One aiormq connection and the transport below it."""

    def __init__(
        self, endpoint: AmqpEndpoint, *, name: str, tls: ssl.SSLContext | None = None
    ) -> None:
        self._endpoint = endpoint
        self._transport = _Transport(endpoint, tls if endpoint.tls else None)
        self._name = name
        self._connection: aiormq.Connection | None = None

    @property
    def aiormq(self) -> aiormq.Connection:
        """The open connection."""
        if self._connection is None:
            raise RuntimeError("the connection is not open")
        return self._connection

    @property
    def writer(self) -> FrameWriter:
        """The way to the socket of the open connection for frames that aiormq need not see."""
        return self._transport.writer

    def add_sink(self, channel: int, sink: FrameSink) -> None:
        """Hand the frequent frames of an open channel to a sink; see `broker.amqp.frames`."""
        self._transport.reader.add_sink(channel, sink)

    def add_taker(self, channel: int, taker: FrameTaker) -> None:
        """Show all frames of an open channel to somebody first; see `broker.amqp.frames`."""
        self._transport.reader.add_taker(channel, taker)

    async def open(self) -> None:
        """Connect and log in.

        Raises:
            AmqpError: No RabbitMQ there, login refused, or no answer within `CONNECT_TIMEOUT`.
        """
        endpoint = self._endpoint
        url = URL.build(
            scheme="amqps" if endpoint.tls else "amqp",
            user=endpoint.user,
            password=endpoint.password,
            host=endpoint.host,
            port=endpoint.port,
            path="/",
        ).with_query(heartbeat=HEARTBEAT, name=self._name)
        self._connection = aiormq.Connection(url, transport_factory=self._transport)
        # Set here rather than in the URL, where a slash or a percent sign would be ambiguous.
        self._connection.vhost = endpoint.vhost
        with translated(f"connecting to {endpoint}"):
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self._connection.connect()
            except InvalidFrameError as error:
                # aiormq only tells that this was not the frame it expected.
                raise ConnectionError(self._transport.close_text or describe(error)) from error

    async def is_blocked(self) -> bool:
        """Return whether RabbitMQ refuses to read from this connection (an alarm)."""
        try:
            async with asyncio.timeout(0):
                await self.aiormq.ready()
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        """Say goodbye, or hang up when that takes longer than a second. Never raises."""
        if self._connection is None:
            return
        closing = asyncio.ensure_future(self._connection.close())
        await asyncio.wait([closing], timeout=_CLOSE_TIMEOUT)
        if not closing.done():
            self.abort()
            await asyncio.wait([closing], timeout=_ABORT_TIMEOUT)
        if closing.done():
            # The connection is gone either way.
            closing.cancelled() or closing.exception()
        else:
            closing.cancel()

    def abort(self) -> None:
        """Hang up. Everybody who waits for an answer on this connection is released."""
        self._transport.abort()


async def connect_socket(host: str, port: int) -> socket.socket:
    """Return a connected socket to one of the addresses of a host.

    asyncio does the same, but leaves sockets open when it is cancelled while it does, and has
    everybody wait for a look-up that takes long.

    Raises:
        OSError: No address answers.
    """
    addresses = await look_up(host, port)
    return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_ATTEMPT_DELAY)


class _Transport(TransportFactory):
    """Opens the TCP or TLS stream and keeps a handle to cut it."""

    def __init__(self, endpoint: AmqpEndpoint, tls: ssl.SSLContext | None) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._transport: asyncio.Transport | None = None
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None

    async def create(
        self,
        url: URL,  # noqa: ARG002 - made of the endpoint
        **_kwargs: Any,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # As asyncio.open_connection does it, with a reader of our own.
        loop = asyncio.get_running_loop()
        reader = FrameReader(limit=_READ_LIMIT, loop=loop)
        self._reader = reader
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        connected = await connect_socket(self._endpoint.host, self._endpoint.port)
        self._transport, _ = await loop.create_connection(
            lambda: protocol,
            sock=connected,
            ssl=self._tls,
            server_hostname=self._endpoint.host if self._tls else None,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_TIMEOUT if self._tls else None,
        )
        stream = asyncio.StreamWriter(self._transport, protocol, reader, loop)
        self._writer = FrameWriter(stream)
        return reader, stream

    @property
    def close_text(self) -> str:
        """What RabbitMQ said when it closed the connection; empty until then."""
        return self._reader.close_text if self._reader is not None else ""

    @property
    def reader(self) -> FrameReader:
        """The stream of frames that arrive."""
        if self._reader is None:
            raise RuntimeError("the connection is not open")
        return self._reader

    @property
    def writer(self) -> FrameWriter:
        """Where frames leave."""
        if self._writer is None:
            raise RuntimeError("the connection is not open")
        return self._writer

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
