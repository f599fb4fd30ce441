"""All ways in which a WebSocket opens, ends, and fails to; nothing takes longer than it may."""

import socket
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio_websocket
import trustme
from trio.testing import wait_all_tasks_blocked

from broker.central.address import ServerAddress
from broker.central.websocket import (
    CONNECT_TIMEOUT,
    MessageTooBigError,
    WebSocketError,
    open_websocket,
)
from broker.net.tls import TlsFiles
from broker.settings import values
from broker.settings.secret_files import SecretFile
from tests.lab.autojump import autojump
from tests.lab.tls_listener import open_tls_listener
from tests.lab.websocket_peers import (
    ADDRESS,
    CLOSING,
    LIMIT,
    MemoryStream,
    Peer,
    Server,
    start,
)

TOKEN = "t0ps3cr3t"
SECURE = ServerAddress("wss://central/ws")

CLOSE_FRAME = b"\x88\x02\x03\xe8"
PING_FRAME = b"\x89\x00"
NOT_UTF8_FRAME = b"\x81\x02\xff\xfe"


@autojump
async def test_messages_in_both_directions(peer: Peer) -> None:
    received: list[str | bytes] = []

    async def talk() -> None:
        async with peer.open_websocket(ADDRESS) as websocket:
            await websocket.send_message("hello")
            received.append(await websocket.get_message())

    attempt = start(peer.nursery, talk)
    server = await peer.serve()
    assert await server.websocket.get_message() == "hello"
    await server.send_text("x" * LIMIT)
    assert await attempt.end(CLOSING) is None
    assert received == ["x" * LIMIT], "a message at the limit is fine"
    assert server.websocket.closed is not None
    assert server.websocket.closed.code == 1000


@autojump
@pytest.mark.parametrize(
    ("url", "connection", "target", "host"),
    [
        ("ws://central:8765/ws", ("central", 8765), "/ws", "central:8765"),
        ("ws://central/ws", ("central", 80), "/ws", "central"),
        ("ws://central", ("central", 80), "/", "central"),
        ("ws://central/a/b?c=d&e", ("central", 80), "/a/b?c=d&e", "central"),
        ("ws://[::1]:99/", ("::1", 99), "/", "[::1]:99"),
        # The dot of the DNS's root is for the name service alone.
        ("ws://central.example./ws", ("central.example.", 80), "/ws", "central.example"),
        ("ws://central.example.:8/ws", ("central.example.", 8), "/ws", "central.example:8"),
        ("ws://[::ffff:1.2.3.4]/", ("::ffff:1.2.3.4", 80), "/", "[::ffff:1.2.3.4]"),
    ],
)
async def test_the_request(
    url: str, connection: tuple[str, int], target: str, host: str, peer: Peer
) -> None:
    peer.listen(ServerAddress(url))
    _, request = await peer.read_request()
    assert peer.connections == [connection]
    assert request.startswith(f"GET {target} HTTP/1.1\r\n")
    assert f"\r\nHost: {host}\r\n" in request


def test_an_address_does_not_show_its_token() -> None:
    assert TOKEN not in repr(ServerAddress("ws://central", token=TOKEN))


@autojump
@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name not found"),
        (OSError("all attempts to connect to central:8765 failed"), "all attempts to connect"),
        (OSError(), "lost"),
    ],
)
async def test_nobody_listens(failure: OSError, text: str, peer: Peer) -> None:
    peer.failure = failure
    assert text in await peer.listen().failure()


@autojump
async def test_connecting_takes_too_long(peer: Peer) -> None:
    peer.delay = 1000
    assert "no answer within 10 s" in await peer.listen().failure(CONNECT_TIMEOUT)


@autojump
@pytest.mark.parametrize("address", [ADDRESS, SECURE])
async def test_a_peer_that_never_answers(address: ServerAddress, peer: Peer) -> None:
    """TCP, TLS and handshake share one deadline."""
    peer.delay = 0.6 * CONNECT_TIMEOUT
    attempt = peer.listen(address)
    stream = await peer.accept()
    assert "no answer within 10 s" in await attempt.failure(0.4 * CONNECT_TIMEOUT)
    await assert_hung_up(stream)


@autojump
@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_peer_that_hangs_up_in_the_handshake(is_reset: bool, peer: Peer) -> None:
    attempt = peer.listen()
    stream, _ = await peer.read_request()
    peer.wires[0].is_reset = is_reset
    await stream.aclose()
    await attempt.failure()


@autojump
@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00" * 5000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
    ],
)
async def test_garbage_instead_of_a_handshake(garbage: bytes, peer: Peer) -> None:
    attempt = peer.listen()
    stream = await peer.accept()
    await stream.send_all(garbage)
    await attempt.failure(CONNECT_TIMEOUT)
    await assert_hung_up(stream)


@autojump
@pytest.mark.parametrize("code", [1000, 1001, 1011, 4000])
@pytest.mark.parametrize(("reason", "text"), [("because", " (because)"), (None, "")])
async def test_the_peer_closes(code: int, reason: str | None, text: str, peer: Peer) -> None:
    received: list[str | bytes] = []
    attempt = peer.listen(received=received)
    server = await peer.serve()
    await server.send_text("last words")
    await server.websocket.aclose(code, reason)
    assert await attempt.failure() == f"the connection was closed with code {code}{text}"
    assert received == ["last words"]


@autojump
@pytest.mark.parametrize(("frame", "text"), [(CLOSE_FRAME, "1000"), (NOT_UTF8_FRAME, "")])
async def test_the_peer_closes_or_sends_garbage_but_keeps_tcp_open(
    frame: bytes, text: str, peer: Peer
) -> None:
    attempt = peer.listen()
    stream = await peer.serve_by_hand()
    await stream.send_all(frame)
    assert text in await attempt.failure(CLOSING)
    await assert_hung_up(stream)


@autojump
async def test_a_message_above_the_limit(peer: Peer) -> None:
    attempt = peer.listen()
    server = await peer.serve()
    await server.send_text("x" * (LIMIT + 1))
    assert "BROKER_WEBSOCKET_MAX_BYTES" in await attempt.failure(CLOSING)
    assert isinstance(await attempt.end(), MessageTooBigError)
    await wait_all_tasks_blocked()
    assert server.websocket.closed is not None
    assert server.websocket.closed.code == 1009


@autojump
@pytest.mark.parametrize("is_reset", [False, True])
async def test_the_peer_hangs_up(is_reset: bool, peer: Peer) -> None:
    attempt = peer.listen()
    server = await peer.serve()
    peer.wires[0].is_reset = is_reset
    await server.stream.aclose()
    await attempt.failure()


class Visit:
    """Somebody who has opened a WebSocket, and leaves the block when told to."""

    def __init__(self, peer: Peer, error: Exception | None = None) -> None:
        self.leave = trio.Event()
        self._peer = peer
        self._opened = trio.Event()
        self._error = error
        self.attempt = start(peer.nursery, self._open)

    async def _open(self) -> None:
        async with self._peer.open_websocket(ADDRESS):
            self._opened.set()
            await self.leave.wait()
            if self._error is not None:
                raise self._error

    async def serve(self) -> Server:
        server = await self._peer.serve()
        await self._opened.wait()
        return server

    async def serve_by_hand(self) -> MemoryStream:
        stream = await self._peer.serve_by_hand()
        await self._opened.wait()
        return stream


@autojump
async def test_a_peer_that_does_not_answer_the_close(peer: Peer) -> None:
    visit = Visit(peer)
    stream = await visit.serve_by_hand()
    visit.leave.set()
    assert await visit.attempt.end(CLOSING) is None
    await assert_hung_up(stream)


@autojump
async def test_a_peer_that_does_not_read_the_close(peer: Peer) -> None:
    visit = Visit(peer)
    server = await visit.serve()
    peer.wires[0].is_stuck = True
    visit.leave.set()
    assert await visit.attempt.end(CLOSING) is None
    await wait_all_tasks_blocked()
    assert server.websocket.closed is not None


@autojump
async def test_a_ping_while_closing_is_no_silent_end(peer: Peer) -> None:
    """trio-websocket cannot answer it; its reader fails, and must not take the caller along."""
    visit = Visit(peer)
    stream = await visit.serve_by_hand()
    visit.leave.set()
    await stream.receive_some(1000)  # the broker's close frame
    await stream.send_all(PING_FRAME)
    await visit.attempt.failure(CLOSING)
    assert not visit.attempt.scope.cancelled_caught
    await assert_hung_up(stream)


@autojump
@pytest.mark.parametrize("answer", [b"", PING_FRAME, CLOSE_FRAME, NOT_UTF8_FRAME])
async def test_cancelled_it_closes_in_time(answer: bytes, peer: Peer) -> None:
    visit = Visit(peer)
    stream = await visit.serve_by_hand()
    visit.attempt.scope.cancel()
    farewell = await stream.receive_some(1000)
    assert farewell[0] == CLOSE_FRAME[0]
    await stream.send_all(answer)
    await visit.attempt.cancelled()
    await assert_hung_up(stream)


@autojump
async def test_cancelled_it_still_hears_the_answer_to_its_close(peer: Peer) -> None:
    visit = Visit(peer)
    server = await visit.serve()
    await visit.attempt.cancelled(within=0)
    assert server.websocket.closed is not None
    assert server.websocket.closed.code == 1000


@autojump
async def test_an_error_of_the_block_is_not_swallowed(peer: Peer) -> None:
    error = ValueError("odd")
    visit = Visit(peer, error)
    server = await visit.serve()
    visit.leave.set()
    ended = await visit.attempt.end(CLOSING)
    assert isinstance(ended, ExceptionGroup)
    assert ended.exceptions == (error,)
    assert server.websocket.closed is not None


@autojump
async def test_the_error_of_the_block_is_the_one_to_hear_of(peer: Peer) -> None:
    visit = Visit(peer, WebSocketError("refused"))
    await visit.serve()
    visit.leave.set()
    assert await visit.attempt.failure() == "refused"


@autojump
@pytest.mark.parametrize("address", [ADDRESS, SECURE])
async def test_cancelled_in_the_handshake_it_hangs_up(address: ServerAddress, peer: Peer) -> None:
    attempt = peer.listen(address)
    stream = await peer.accept()
    await wait_all_tasks_blocked()
    await attempt.cancelled()
    await assert_hung_up(stream)


@autojump
async def test_cancelled_in_the_moment_of_connecting_it_hangs_up(peer: Peer) -> None:
    async def connect_and_cancel(host: str, port: int) -> trio.abc.Stream:
        stream = await peer.open_tcp_stream(host, port)
        attempt.scope.cancel()
        return stream

    async def visit() -> None:
        async with open_websocket(ADDRESS, connect=connect_and_cancel):
            pytest.fail("it cannot have been opened")

    attempt = start(peer.nursery, visit)
    stream = await peer.accept()
    with trio.move_on_after(CLOSING):
        await attempt.end()
    assert attempt.scope.cancelled_caught
    await assert_hung_up(stream)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA, directory: Path) -> ServerAddress:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(path)
    tls = TlsFiles(path, settings="WEBSOCKET")
    return ServerAddress("wss://central/ws", token=TOKEN, tls=tls)


def secured(stream: MemoryStream, authority: trustme.CA) -> trio.SSLStream[MemoryStream]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("central").configure_cert(context)
    return trio.SSLStream(stream, context, server_side=True, https_compatible=True)


@autojump
@pytest.mark.parametrize("host", ["central", "central."])
async def test_wss_also_by_a_name_with_the_dot_of_the_root(
    host: str, authority: trustme.CA, tmp_path: Path, peer: Peer
) -> None:
    attempt = peer.listen(replace(trusting(authority, tmp_path), url=f"wss://{host}/ws"))
    stream = secured(await peer.accept(), authority)
    request = await trio_websocket.wrap_server_stream(peer.nursery, stream)
    assert peer.connections == [(host, 443)]
    assert dict(request.headers)[b"authorization"] == f"Bearer {TOKEN}".encode()
    websocket = await request.accept()
    await websocket.aclose(1001)
    assert "1001" in await attempt.failure(CLOSING)


@autojump
@pytest.mark.parametrize("host", ["central", "else"])
async def test_wss_with_a_certificate_that_cannot_be_trusted(
    host: str, authority: trustme.CA, tmp_path: Path, peer: Peer
) -> None:
    """By the right name, of another authority; or of the right one, by another name."""
    trusted = trustme.CA() if host == "central" else authority
    attempt = peer.listen(replace(trusting(trusted, tmp_path), url=f"wss://{host}/ws"))
    stream = secured(await peer.accept(), authority)
    # TLS 1.3: the server is through with its part before it hears of the refusal.
    with suppress(trio.BrokenResourceError):
        await stream.do_handshake()
    failure = await attempt.failure()
    assert "certificate verify failed" in failure
    assert TOKEN not in failure


@autojump
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_wss_with_a_peer_that_does_not_speak_tls(
    answer: bytes, authority: trustme.CA, tmp_path: Path, peer: Peer
) -> None:
    attempt = peer.listen(trusting(authority, tmp_path))
    stream = await peer.accept()
    await stream.receive_some(10_000)
    await stream.send_all(answer)
    await stream.aclose()
    assert "TLS" in await attempt.failure()


async def assert_hung_up(stream: MemoryStream) -> None:
    """Read what is left; the other end must be closed."""
    with trio.fail_after(CLOSING):
        while await stream.receive_some(10_000):
            pass


@autojump
async def test_the_token_is_read_again_for_each_connection(tmp_path: Path, peer: Peer) -> None:
    file = tmp_path / "token"
    secret_file = SecretFile("TOKEN", str(file), values.bearer_token)
    address = replace(ADDRESS, token=TOKEN, token_file=secret_file)
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        peer.listen(address)
        _, request = await peer.read_request()
        assert f"Authorization: Bearer {token}\r\n" in request


@autojump
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "TOKEN_FILE must name a readable file with the secret (No such file or directory)"),
        (b"", "TOKEN_FILE must name a readable file with the secret (it is empty)"),
        (f"{TOKEN}\r\nX-Forged: {TOKEN}".encode(), "TOKEN must consist of visible ASCII"),
    ],
)
async def test_a_token_that_cannot_be_read_leaves_nothing_on_the_wire(
    content: bytes | None, text: str, tmp_path: Path, peer: Peer
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    address = replace(ADDRESS, token_file=SecretFile("TOKEN", str(file), values.bearer_token))
    failure = await peer.listen(address).failure()
    assert failure.startswith(text)
    assert TOKEN not in failure
    assert peer.connections == []


async def test_wss_with_a_server_that_wants_a_certificate(
    authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with open_tls_listener(context) as port:
        address = replace(trusting(authority, tmp_path), url=f"wss://127.0.0.1:{port}/ws")
        # Well before the deadline of the handshake.
        with trio.fail_after(CONNECT_TIMEOUT / 2), pytest.raises(WebSocketError) as caught:
            async with open_websocket(address):
                pytest.fail("it cannot have been opened")
    assert "wants a client certificate" in str(caught.value)
