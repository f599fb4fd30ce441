"""What the handshake carries, and how a refusal is reported."""

import re
from dataclasses import replace

import pytest
import structlog
import trio
from wsproto.utilities import generate_accept_token

from broker import __version__
from broker.central import CentralLink, ServerAddress
from broker.central.websocket import (
    CONNECT_TIMEOUT,
    MessageTooBigError,
    RefusedError,
    WebSocketError,
)
from broker.core.messages import ServerNews
from broker.net.backoff import Backoff
from broker.telemetry.tally import ServerTally
from tests.central.opening import ADDRESS, Peer
from tests.central.session_rig import TERMS
from tests.lab.autojump import autojump

TOKEN = "t0ps3cr3t"
EQUIPPED = replace(ADDRESS, token=TOKEN, origin="https://chat.example", subprotocols=("v2", "v1"))
SAID = "the server refused the WebSocket with HTTP status "


async def refused(
    peer: Peer,
    *answer: bytes,
    address: ServerAddress = ADDRESS,
    close: bool = False,
    within: float = 0.0,
) -> RefusedError:
    """Connect, be given an answer, and return the error."""
    attempt = peer.listen(address)
    stream = await peer.network.accept()
    await stream.receive_some(10_000)
    for part in answer:
        await stream.send_all(part)
    if close:
        await stream.aclose()
    error = await attempt.end(within)
    assert isinstance(error, RefusedError)
    assert str(error).isprintable()
    assert error.advice
    assert error.advice.isprintable()
    assert TOKEN not in f"{error} {error.advice}"
    return error


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def handshake(request: bytes | bytearray, more: bytes = b"") -> bytes:
    [key] = re.findall(rb"Sec-WebSocket-Key: (\S+)", request)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"%bSec-WebSocket-Accept: %b\r\n\r\n" % (more, generate_accept_token(key))
    )


async def headers_of(peer: Peer, address: ServerAddress) -> list[str]:
    peer.listen(address)
    request = await (await peer.network.accept()).receive_some(10_000)
    return request.decode().split("\r\n")


@autojump
async def test_the_handshake_names_the_broker_and_its_version(peer: Peer) -> None:
    headers = await headers_of(peer, ADDRESS)
    assert f"User-Agent: agent-broker/{__version__}" in headers
    assert not [one for one in headers if one.startswith(("Origin", "Sec-WebSocket-Protocol"))]


@autojump
async def test_the_handshake_carries_what_is_set(peer: Peer) -> None:
    headers = await headers_of(peer, EQUIPPED)
    assert "Origin: https://chat.example" in headers
    assert "Sec-WebSocket-Protocol: v2, v1" in headers
    assert f"Authorization: Bearer {TOKEN}" in headers


@autojump
@pytest.mark.parametrize("chosen", ["v1", None])
async def test_a_server_may_choose_a_subprotocol_or_none(chosen: str | None, peer: Peer) -> None:
    attempt = peer.listen(EQUIPPED)
    request = await peer.request()
    assert request.proposed_subprotocols == ("v2", "v1")
    await request.accept(subprotocol=chosen)
    await trio.sleep(1)
    assert not attempt.has_ended


@autojump
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b" \r\n\n", ""),
        (b"token expired", ": token expired"),
        (b"\r\n  token expired  \r\nsecond line", ": token expired"),
        (b'{"detail":"Not authenticated"}', ': {"detail":"Not authenticated"}'),
        (
            b"<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>x</body>",
            ": 401 Authorization Required",
        ),
        (b"<!doctype html><style>p {\n}</style><p>Log in\x1b[2J</p>", ": Log in [2J"),
        (b"\xff\x00broken", ": \N{REPLACEMENT CHARACTER} broken"),
        (b"x" * 70_000, f": {'x' * 200}"),
        (f"no {TOKEN}, no entry".encode(), ": no ***, no entry"),
        (b"Cannot GET /ws?ticket=s3cr3t now", ": Cannot GET /ws?*** now"),
        (b"s3cr3t is no ticket", ": *** is no ticket"),
    ],
)
async def test_a_refusal_is_reported_with_the_first_line_of_the_answer(
    body: bytes, said: str, peer: Peer
) -> None:
    address = replace(EQUIPPED, url="ws://central/ws?ticket=s3cr3t")
    error = await refused(peer, answer("401 No", body), address=address)
    assert str(error) == f"{SAID}401{said}"
    assert error.status == 401


@autojump
@pytest.mark.parametrize(
    ("status", "body", "location", "bare", "equipped"),
    [
        (
            "401 Unauthorized",
            b"",
            None,
            "the server requires a token: set BROKER_WEBSOCKET_TOKEN",
            "correct BROKER_WEBSOCKET_TOKEN",
        ),
        (
            "403 Forbidden",
            b"request Origin not allowed",
            None,
            "set WEBSOCKET_ORIGIN: it must be one that the server allows",
            "correct WEBSOCKET_ORIGIN: it must be one that the server allows",
        ),
        (
            "403 Forbidden",
            b"",
            None,
            "set BROKER_WEBSOCKET_TOKEN, or set WEBSOCKET_ORIGIN, or correct the path",
            "correct BROKER_WEBSOCKET_TOKEN, or correct WEBSOCKET_ORIGIN, or correct the path",
        ),
        ("404 Not Found", b"", None, "correct the path in WEBSOCKET_URL", "correct the path"),
        ("405 Not Allowed", b"", None, "correct the path in WEBSOCKET_URL", "correct the path"),
        ("410 Gone", b"", None, "correct the path in WEBSOCKET_URL", "correct the path"),
        (
            "400 Bad Request",
            b"",
            None,
            "correct the path in WEBSOCKET_URL, or set WEBSOCKET_SUBPROTOCOL; a proxy",
            "correct the path in WEBSOCKET_URL, or correct WEBSOCKET_SUBPROTOCOL; a proxy",
        ),
        ("426 Upgrade Required", b"", None, "correct the path", "correct the path"),
        ("429 Too Many", b"", None, "the server limits connections", "the server limits"),
        ("500 Oops", b"", None, "see the log of the server", "see the log"),
        ("502 Bad Gateway", b"", None, "the server, or one behind its proxy, is not", "the server"),
        ("503 Away", b"", None, "the server, or one behind its proxy, is not ready", "the server"),
        ("504 Late", b"", None, "the server, or one behind its proxy, is not ready", "the server"),
        ("200 OK", b"", None, "it is a plain web server; correct the path", "it is a"),
        (
            "301 Moved",
            b"",
            "https://chat.example/ws",
            "WEBSOCKET_URL must be wss://chat.example/ws",
            "WEBSOCKET_URL must be wss://chat.example/ws",
        ),
        (
            "308 Moved",
            b"",
            "/new",
            "must be ws://central:8765/new",
            "must be ws://central:8765/new",
        ),
        ("302 Found", b"", None, "must be the address that it redirects to", "WEBSOCKET_URL"),
        ("302 Found", b"", "http://[x", "must be the address that it redirects to", "must be"),
    ],
)
async def test_the_advice_fits_the_status(
    *, status: str, body: bytes, location: str | None, bare: str, equipped: str, peer: Peer
) -> None:
    headers = [] if location is None else [f"Location: {location}"]
    for address, advice in ((ADDRESS, bare), (EQUIPPED, equipped)):
        error = await refused(peer, answer(status, body, *headers), address=address)
        assert error.advice is not None
        assert advice in error.advice
        assert ("token" in error.advice.lower()) == (status[:3] in {"401", "403"} and not body)


@autojump
async def test_a_redirection_is_reported_without_secrets(peer: Peer) -> None:
    location = f"Location: https://me:{TOKEN}@login.example/in?next={TOKEN}#{TOKEN}"
    error = await refused(peer, answer("302 Found", b"", location), address=EQUIPPED)
    assert str(error) == f"{SAID}302, and redirects to https://login.example/in"


@autojump
@pytest.mark.parametrize("more", ["Connection: close", "Content-Length: 1000"])
async def test_an_answer_that_ends_with_the_connection(more: str, peer: Peer) -> None:
    head = f"HTTP/1.1 403 Forbidden\r\n{more}\r\n\r\n"
    error = await refused(peer, head.encode(), b"no brokers", close=True)
    assert str(error) == f"{SAID}403: no brokers"


@autojump
async def test_an_answer_that_does_not_end(peer: Peer) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\nno brokers"
    error = await refused(peer, head, within=CONNECT_TIMEOUT)
    assert str(error) == f"{SAID}403: no brokers"


@autojump
async def test_an_answer_of_any_length_takes_little_memory(peer: Peer) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000000\r\n\r\nno brokers\n"
    error = await refused(peer, head, *[b"x" * 10_000] * 10)
    assert str(error) == f"{SAID}403: no brokers"


@autojump
async def test_what_comes_right_behind_an_opened_websocket_is_no_refusal(peer: Peer) -> None:
    """However much it is; and a session that ends later ends for its own reason."""
    attempt = peer.listen(replace(ADDRESS, max_message_bytes=1_000_000))
    stream = await peer.network.accept()
    accepted = handshake(await stream.receive_some(10_000))
    frame = b"\x82\x7f" + (900_000).to_bytes(8) + b"HTTP/1.1 403 Forbidden\r\n\r\n".ljust(900_000)
    too_big = b"\x82\x7f" + (1_000_001).to_bytes(8) + b"x" * 1_000_001
    await stream.send_all(accepted + frame + too_big)
    assert isinstance(await attempt.end(1), MessageTooBigError)


@autojump
async def test_a_link_logs_the_refusal_and_what_to_do(peer: Peer) -> None:
    link = CentralLink(
        EQUIPPED,
        TERMS,
        broker_id="broker_0001",
        follow_advertised_url=False,
        backoff=Backoff(initial=1, random=lambda: 1.0),
        tally=ServerTally(),
        open_websocket=peer.network.open_websocket,
    )
    with structlog.testing.capture_logs() as lines:
        peer.nursery.start_soon(link.run, trio.open_memory_channel[ServerNews](0)[0])
        stream = await peer.network.accept()
        await stream.receive_some(10_000)
        await stream.send_all(answer("401 No", f"{TOKEN} has expired".encode()))
        stream = await peer.network.accept()
        await stream.aclose()
        await peer.network.accept()
    first, second = (line for line in lines if line["event"] == "server_lost")
    assert first["error"] == f"{SAID}401: *** has expired"
    assert first["advice"] == "correct BROKER_WEBSOCKET_TOKEN"
    assert "advice" not in second
    assert TOKEN not in repr(lines)


@autojump
async def test_a_subprotocol_that_was_not_offered(peer: Peer) -> None:
    attempt = peer.listen()
    stream = await peer.network.accept()
    request = await stream.receive_some(10_000)
    await stream.send_all(handshake(request, b"Sec-WebSocket-Protocol: v1.agents\r\n"))
    error = await attempt.end()
    assert isinstance(error, WebSocketError)
    assert "v1.agents" in str(error)
    assert error.advice is not None
    assert "WEBSOCKET_SUBPROTOCOL" in error.advice
