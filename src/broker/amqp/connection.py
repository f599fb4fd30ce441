"""aiormq connections: opened with a deadline, closed with a deadline."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Literal, cast

import aiohappyeyeballs
import aiormq
from aiormq import Channel
from aiormq.connection import TransportFactory
from aiormq.exceptions import AuthenticationError
from yarl import URL

from broker.amqp.daemon_thread import in_daemon_thread, look_up
from broker.amqp.refusal import refusal
from broker.amqp.timeouts import AmqpTimeouts
from broker.amqp.wire.errors import AmqpError, translated
from broker.amqp.wire.frames import FrameReader
from broker.amqp.wire.writer import FrameWriter
from broker.net.endpoints import AmqpEndpoint
from broker.net.tls import TlsFiles, server_name
from broker.settings.amqp_nodes import AmqpNodes

RPC_TIMEOUT = 10.0
"""Seconds that RabbitMQ has to answer a request."""
HEARTBEAT = 10
"""Seconds between signs of life that both sides promise each other."""
_CLOSE_TIMEOUT = 1.0
"""Seconds for the farewell. A node that blocks or hangs would otherwise hold it up for minutes."""
_ABORT_TIMEOUT = 0.5
_TLS_SHUTDOWN_TIMEOUT = 1.0
_SHOWN_CHARACTERS = 100
_READ_LIMIT = 1 << 18
_ATTEMPT_DELAY = 0.25
"""Seconds, as RFC 8305 recommends, after which the next address of a host is tried beside one that
has not answered yet: one that swallows everything must not use up the time to connect."""

_SYSTEMS_TRUST = TlsFiles()
_DEFAULT_TIMEOUTS = AmqpTimeouts()

type _Mechanism = Literal["plain", "external"]
"""How to log in: with user and password, or by the client certificate."""


class Connection:
    """One aiormq connection and the transport below it.

    It is lost when RabbitMQ has been silent for too long, whatever the network says.
    """

    def __init__(
        self,
        endpoint: AmqpEndpoint,
        *,
        name: str,
        tls: TlsFiles = _SYSTEMS_TRUST,
        nodes: AmqpNodes | None = None,
        timeouts: AmqpTimeouts = _DEFAULT_TIMEOUTS,
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._nodes = nodes
        self._name = name
        self._timeouts = timeouts
        self._mechanism: _Mechanism = "plain"
        self._opened: tuple[aiormq.Connection, _Transport] | None = None

    @property
    def _parts(self) -> tuple[aiormq.Connection, "_Transport"]:
        if self._opened is None:
            raise RuntimeError("the connection is not open")
        return self._opened

    @property
    def user(self) -> str:
        """The user that is logged in; empty when a client certificate names it to RabbitMQ."""
        return self._endpoint.user if self._mechanism == "plain" else ""

    @property
    def aiormq(self) -> aiormq.Connection:
        """The open connection."""
        return self._parts[0]

    @property
    def product(self) -> str:
        """What is at the other end, such as `RabbitMQ 3.10.8`, as it calls itself."""
        properties = self.aiormq.server_properties
        names = (str(properties.get(name, "")) for name in ("product", "version"))
        return " ".join(filter(None, names))[:_SHOWN_CHARACTERS]

    @property
    def writer(self) -> FrameWriter:
        """The way to the socket of the open connection for frames that aiormq need not see."""
        writer = self._parts[1].writer
        if writer is None:
            raise RuntimeError("the connection is not open")
        return writer

    async def channel(self, *, publisher_confirms: bool = False) -> Channel:
        """Open a channel, which is closed with the connection. Raises what aiormq raises."""
        channel = await self.aiormq.channel(
            publisher_confirms=publisher_confirms, timeout=RPC_TIMEOUT
        )
        return cast("Channel", channel)

    @property
    def frames(self) -> FrameReader:
        """What takes frames that aiormq need not see out of the open connection."""
        return self._parts[1].reader

    async def open(self) -> None:
        """Read the files that belong to it, connect and log in.

        Raises:
            AmqpError: A file cannot be used, there is no RabbitMQ, it lets nobody in, or there was
                no answer in time. What is known of the reason is its cause, a
                `RefusedError`.
        """
        with translated(f"connecting to {self._endpoint}"):
            async with asyncio.timeout(self._timeouts.connect):
                context = await self._read_files()
                await self._log_in(context)

    async def _log_in(self, context: ssl.SSLContext | None) -> None:
        first, *others = self._mechanisms()
        try:
            try:
                await self._connect(context, first)
            except AuthenticationError:
                # RabbitMQ does not offer it.
                if not others:
                    raise
                await self._connect(context, others[0])
        except Exception as error:
            reader = self.frames
            explained = refusal(
                error,
                endpoint=self._endpoint,
                has_certificate=self._has_certificate,
                by_certificate=self._mechanism == "external",
                close_text=reader.close_text,
                greeting=reader.greeting,
            )
            if explained is None:
                raise
            raise explained from error

    async def _read_files(self) -> ssl.SSLContext | None:
        """Read the login of now, and return the TLS context of now, if there is to be one."""
        if self._nodes is not None and self._nodes.may_change:
            nodes, endpoint = self._nodes, self._endpoint
            self._endpoint = await in_daemon_thread(lambda: nodes.read_again(endpoint))
        return await in_daemon_thread(self._tls.context) if self._endpoint.tls else None

    def _mechanisms(self) -> Sequence[_Mechanism]:
        """Return the ways to log in, the one that is meant first."""
        # The other way is gone when RabbitMQ does not offer the first: a certificate may be there
        # for TLS only, and a login for another RabbitMQ.
        if not self._has_certificate:
            return ("plain",)
        return ("external", "plain") if self._endpoint.by_certificate else ("plain", "external")

    @property
    def _has_certificate(self) -> bool:
        return self._endpoint.tls and self._tls.cert_file is not None

    async def _connect(self, context: ssl.SSLContext | None, mechanism: _Mechanism) -> None:
        endpoint = self._endpoint
        url = URL.build(
            scheme="amqps" if endpoint.tls else "amqp",
            user=endpoint.user,
            password=endpoint.password,
            host=endpoint.host,
            port=endpoint.port,
            path="/",
        ).with_query(heartbeat=HEARTBEAT, name=self._name, auth=mechanism)
        transport = _Transport(endpoint, context, silence=self._timeouts.silence)
        connection = aiormq.Connection(url, transport_factory=transport)
        # Set here rather than in the URL, where a slash or a percent sign would be ambiguous.
        connection.vhost = endpoint.vhost
        self._opened = connection, transport
        self._mechanism = mechanism
        await connection.connect()

    async def is_blocked(self) -> bool:
        """Return whether RabbitMQ refuses to read from this connection (an alarm)."""
        try:
            async with asyncio.timeout(0):
                await self.aiormq.ready()
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        """Say goodbye, or hang up when that takes longer than a second or is cancelled.

        RabbitMQ or the network cannot make it raise.
        """
        if self._opened is None:
            return
        closing = asyncio.ensure_future(self.aiormq.close())
        try:
            for timeout, give_up in (_CLOSE_TIMEOUT, self.abort), (_ABORT_TIMEOUT, closing.cancel):
                await asyncio.wait([closing], timeout=timeout)
                if not closing.done():
                    give_up()
            await asyncio.wait([closing], timeout=_ABORT_TIMEOUT)
        finally:
            if closing.done():
                # The connection is gone either way.
                closing.cancelled() or closing.exception()
            else:
                self.abort()
                closing.cancel()

    def abort(self) -> None:
        """Hang up. Everybody who waits for an answer on this connection is released."""
        if self._opened is not None:
            self._opened[1].abort()


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
    """Opens the TCP or TLS stream and keeps a handle to cut it.

    Args:
        silence: Seconds without anything from the peer after which reading fails.
    """

    def __init__(
        self, endpoint: AmqpEndpoint, tls: ssl.SSLContext | None, *, silence: float
    ) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._silence = silence
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        # As asyncio.open_connection does it, with a reader of our own.
        self.reader = FrameReader(limit=_READ_LIMIT, loop=self._loop)
        self.writer: FrameWriter | None = None

    async def create(
        self,
        url: URL,  # noqa: ARG002 - made of the endpoint
        **_kwargs: Any,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = self._loop
        protocol = asyncio.StreamReaderProtocol(self.reader, loop=loop)
        connected = await connect_socket(self._endpoint.host, self._endpoint.port)
        self._transport, _ = await loop.create_connection(
            lambda: protocol,
            sock=connected,
            ssl=self._tls,
            server_hostname=server_name(self._endpoint.host) if self._tls else None,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_TIMEOUT if self._tls else None,
        )
        stream = asyncio.StreamWriter(self._transport, protocol, self.reader, loop)
        self.writer = FrameWriter(stream)
        self._listen(self._transport)
        return self.reader, stream

    def _listen(self, transport: asyncio.Transport) -> None:
        """Look whether the peer is silent for too long, now and whenever it might be."""
        # aiormq allows three heartbeats more than it was promised, 33 s. The system could give up
        # what is never acknowledged sooner (TCP_USER_TIMEOUT), but does so as well when RabbitMQ
        # reads nothing for long because of an alarm.
        left = self.reader.heard_at + self._silence - self._loop.time()
        if transport.is_closing():
            return
        if left > 0:
            self._loop.call_later(left, self._listen, transport)
        else:
            self.reader.set_exception(AmqpError(f"RabbitMQ was silent for {self._silence:g} s"))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
