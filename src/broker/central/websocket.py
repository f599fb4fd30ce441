"""WebSocket connections that open and close within a deadline, whatever the server does.

trio-websocket's own context managers may never exit after the server's close while the TCP
connection stays open, and may leak a bare `Cancelled` (trio-websocket issue 184); TLS errors and a
server that hangs up during the handshake look like a timeout of a minute (issue 199). So the stream
and the nursery below the WebSocket are opened, and closed by force, here.
"""

import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import h11
import trio
import trio_websocket
import wsproto.utilities
from trio_websocket import HandshakeError, WebSocketConnection

from broker.central.address import ServerAddress
from broker.central.handshake_answer import HandshakeAnswer, HandshakeEndedError
from broker.central.refusal import Refusal, advise, read_refusal, read_subprotocol
from broker.central.refusal import describe as describe_refusal
from broker.concurrency.error_groups import first_error
from broker.net.causes import cause_in_words
from broker.net.tls import describe, server_name
from broker.net.unusable_file import UnusableFileError
from broker.version import __version__

CONNECT_TIMEOUT = 10.0
"""Seconds for TCP, TLS and the WebSocket handshake together."""
_CLOSE_TIMEOUT = 1.0
"""Seconds for the closing handshake."""
_RECEIVE_BYTES = 1 << 18
_USER_AGENT = f"agent-broker/{__version__}".encode()
_ROOT_DOT = re.compile(r"\.(?=:\d*$|$)")
"""The dot at the end of a host name, which no server expects in its own name."""
_file_readers = trio.CapacityLimiter(8)
"""Trio's default limiter also serves name resolution, which a hanging file must not delay."""
_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_MESSAGE_TOO_BIG = 1009

type Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a TCP connection to a host and port."""
type ReadFiles = Callable[[ServerAddress], Awaitable[tuple[str | None, ssl.SSLContext | None]]]
"""Returns the current token and TLS context."""


class WebSocketError(Exception):
    """The connection could not be opened, or it is lost.

    Attributes:
        advice: What to do about it, if known.
    """

    def __init__(self, error: str, advice: str | None = None) -> None:
        super().__init__(error)
        self.advice = advice


class RefusedError(WebSocketError):
    """The server answered the handshake with an HTTP status that does not open a WebSocket."""

    def __init__(self, refusal: Refusal, sent: ServerAddress) -> None:
        super().__init__(describe_refusal(refusal, sent), advise(refusal, sent))
        self.status = refusal.status


class MessageTooBigError(WebSocketError):
    """The server sent a message above the limit, and most likely will again."""


async def _connect(host: str, port: int) -> trio.abc.Stream:
    return await trio.open_tcp_stream(host, port)


async def _read_files(address: ServerAddress) -> tuple[str | None, ssl.SSLContext | None]:
    return await trio.to_thread.run_sync(
        address.read, abandon_on_cancel=True, limiter=_file_readers
    )


@asynccontextmanager
async def open_websocket(
    address: ServerAddress,
    *,
    connect: Connect = _connect,
    read_files: ReadFiles = _read_files,
) -> AsyncIterator[WebSocketConnection]:
    """Open a WebSocket, and close it at the end of the block, by force if necessary.

    The block is cancelled if the connection breaks in a way that the library does not report to
    its caller.

    Raises:
        WebSocketError: It could not be opened, or it broke.
        RefusedError: The server answered the handshake with a refusal.
        MessageTooBigError: The server sent a message above the limit.
    """
    failure: WebSocketError | None = None
    answer: HandshakeAnswer | None = None
    token = address.token
    connected_by = trio.current_time() + CONNECT_TIMEOUT
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_at(connected_by):
                tls = None
                if address.token_file is not None or address.is_tls:
                    token, tls = await read_files(address)
                stream = await _open_stream(connect, address, tls)
            answer = HandshakeAnswer(stream)
            # It does not wait, but if cancelled it would wait for a shielded task.
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                reader: trio.Nursery = await nursery.start(_host_reader)
            try:
                with trio.fail_at(connected_by):
                    websocket = await _shake_hands(reader, answer, address, token)
                try:
                    yield websocket
                finally:
                    with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                        await websocket.aclose()
            finally:
                reader.cancel_scope.cancel()
                # It does not wait. Unshielded, a cancellation would replace the error.
                with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                    await trio.aclose_forcefully(stream)
    except* WebSocketError as errors:
        failure = first_error(errors)
    except* trio_websocket.ConnectionClosed as errors:
        failure = failure or _closed(first_error(errors))
    except* _LIBRARY_ERRORS as errors:
        failure = failure or WebSocketError(_describe(first_error(errors), is_tls=address.is_tls))
    if failure is not None:
        raise (answer and _refusal(answer, address, token)) or failure


_PROTOCOL_ERRORS = (wsproto.utilities.ProtocolError, h11.ProtocolError)
_LIBRARY_ERRORS = (
    OSError,
    ssl.SSLError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    HandshakeEndedError,
    HandshakeError,
    UnusableFileError,
    *_PROTOCOL_ERRORS,
)


async def _host_reader(*, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    # Shielded, because the server's answer to the closing handshake must still be read when the
    # session is cancelled. The caller cancels it within `_CLOSE_TIMEOUT` of that.
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


def _refusal(
    answer: HandshakeAnswer, address: ServerAddress, token: str | None
) -> WebSocketError | None:
    """Return what was wrong with the answer to the handshake, as the server put it."""
    received = bytes(answer.received)
    refusal = read_refusal(received)
    if refusal is not None:
        # Also if it breaks off or never ends, which the library reports otherwise.
        return RefusedError(refusal, replace(address, token=token))
    subprotocol = read_subprotocol(received)
    if subprotocol is not None and subprotocol not in address.subprotocols:
        return WebSocketError(
            f"the server chose the subprotocol {subprotocol}, which was not offered",
            f"WEBSOCKET_SUBPROTOCOL must be {subprotocol} if the server expects that of brokers",
        )
    return None


async def _open_stream(
    connect: Connect, address: ServerAddress, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    url = urlsplit(address.url)
    host, port = url.hostname or "", url.port or _DEFAULT_PORTS[url.scheme]
    stream = await connect(host, port)
    if context is None:
        return stream
    tls = trio.SSLStream(stream, context, server_hostname=server_name(host), https_compatible=True)
    try:
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(tls)
        raise
    return tls


async def _shake_hands(
    nursery: trio.Nursery, stream: trio.abc.Stream, address: ServerAddress, token: str | None
) -> WebSocketConnection:
    url = urlsplit(address.url)
    resource = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = [(b"User-Agent", _USER_AGENT)]
    if token:
        headers.append((b"Authorization", f"Bearer {token}".encode()))
    if address.origin:
        headers.append((b"Origin", address.origin.encode()))
    return await trio_websocket.wrap_client_stream(
        nursery,
        stream,  # type: ignore[arg-type]  # any stream will do; the annotation names two
        _ROOT_DOT.sub("", url.netloc),
        resource,
        subprotocols=address.subprotocols,
        extra_headers=headers,
        max_message_size=address.max_message_bytes,
        receive_buffer_size=_RECEIVE_BYTES,
    )


def _closed(error: trio_websocket.ConnectionClosed) -> WebSocketError:
    reason = error.reason
    if reason is None:
        return WebSocketError("the connection was lost")
    if reason.code == _MESSAGE_TOO_BIG:
        return MessageTooBigError("the server sent a message above BROKER_WEBSOCKET_MAX_BYTES")
    text = f" ({reason.reason})" if reason.reason else ""
    return WebSocketError(f"the connection was closed with code {reason.code}{text}")


def _describe(error: BaseException, *, is_tls: bool) -> str:
    match error:
        case trio.TooSlowError():
            return f"no answer within {CONNECT_TIMEOUT:g} s"
        case HandshakeEndedError():
            cause = error.__cause__
            ended = "the server hung up during the handshake"
            text = ended if cause is None else _describe(cause, is_tls=is_tls)
            if is_tls and not text.startswith("TLS: "):
                # A TLS 1.3 server checks client certificates only now, and its alert may be lost.
                text += ", perhaps because it wants a client certificate"
            return text
        case trio.BrokenResourceError() if isinstance(error.__cause__, ssl.SSLError):
            return f"TLS: {describe(error.__cause__, 'WEBSOCKET_CA_FILE')}"
        case wsproto.utilities.ProtocolError() | h11.ProtocolError():
            return f"the server violates the WebSocket protocol: {error}"
        case OSError():
            return cause_in_words(error) or "the connection was lost"
        case _:
            return str(error) or "the connection was lost"
