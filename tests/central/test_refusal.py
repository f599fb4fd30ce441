"""What the handshake carries, and how a refusal is reported."""

import re
from dataclasses import replace

import pytest
import trio
from wsproto.utilities import generate_accept_token

from broker import __version__
from broker.central import ServerAddress
from broker.central.websocket import (
    CONNECT_TIMEOUT,
    MessageTooBigError,
    RefusedError,
    WebSocketError,
)
from tests.lab.autojump import autojump
from tests.lab.websocket_peers import ADDRESS, Peer

TOKEN = "t0ps3cr3t"
EQUIPPED = replace(ADDRESS, token=TOKEN, origin="https://chat.example", subprotocols=("v2", "v1"))
EQUIPMENT = [
    "Sec-WebSocket-Protocol: v2, v1",
    f"Authorization: Bearer {TOKEN}",
    "Origin: https://chat.example",
]
OPTIONAL = ("Origin:", "Sec-WebSocket-Protocol:", "Authorization:")
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
    stream, _ = await peer.read_request()
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


def handshake(request: str, more: bytes = b"") -> bytes:
    [key] = re.findall(r"Sec-WebSocket-Key: (\S+)", request)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"%bSec-WebSocket-Accept: %b\r\n\r\n" % (more, generate_accept_token(key.encode()))
    )


@autojump
async def test_the_handshake_names_the_broker_and_carries_what_is_set(peer: Peer) -> None:
    for address, expected in ((ADDRESS, []), (EQUIPPED, EQUIPMENT)):
        peer.listen(address)
        _, request = await peer.read_request()
        headers = request.split("\r\n")
        assert f"User-Agent: agent-broker/{__version__}" in headers
        assert [one for one in headers if one.startswith(OPTIONAL)] == expected


@autojump
@pytest.mark.parametrize("chosen", [b"Sec-WebSocket-Protocol: v1\r\n", b""])
async def test_a_server_may_choose_a_subprotocol_or_none(chosen: bytes, peer: Peer) -> None:
    attempt = peer.listen(EQUIPPED)
    stream, request = await peer.read_request()
    await stream.send_all(handshake(request, chosen))
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
    ("status", "location", "advice"),
    [
        ("404 Not Found", None, "correct the path in WEBSOCKET_URL"),
        ("405 Not Allowed", None, "correct the path in WEBSOCKET_URL"),
        ("410 Gone", None, "correct the path in WEBSOCKET_URL"),
        ("426 Upgrade Required", None, "correct the path"),
        ("429 Too Many", None, "the server limits connections"),
        ("500 Oops", None, "see the log of the server"),
        ("502 Bad Gateway", None, "the server, or one behind its proxy, is not ready"),
        ("503 Away", None, "the server, or one behind its proxy, is not ready"),
        ("504 Late", None, "the server, or one behind its proxy, is not ready"),
        ("200 OK", None, "it is a plain web server; correct the path"),
        ("301 Moved", "https://chat.example/ws", "WEBSOCKET_URL must be wss://chat.example/ws"),
        ("308 Moved", "/new", "must be ws://central:8765/new"),
        ("302 Found", None, "must be the address that it redirects to"),
        ("302 Found", "http://[x", "must be the address that it redirects to"),
    ],
)
async def test_the_advice_fits_the_status(
    status: str, location: str | None, advice: str, peer: Peer
) -> None:
    headers = [] if location is None else [f"Location: {location}"]
    error = await refused(peer, answer(status, b"", *headers), address=EQUIPPED)
    assert error.advice is not None
    assert advice in error.advice
    assert "token" not in error.advice.lower()


@autojump
@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        ("401 Unauthorized", b"", "the server requires a token: set BROKER_WEBSOCKET_TOKEN"),
        ("403 Forbidden", b"request Origin not allowed", "set WEBSOCKET_ORIGIN: it must be one"),
        ("403 Forbidden", b"", "set BROKER_WEBSOCKET_TOKEN, or set WEBSOCKET_ORIGIN, or correct"),
        ("400 Bad Request", b"", "correct the path in WEBSOCKET_URL, or set WEBSOCKET_SUBPROTOCOL"),
    ],
)
async def test_what_is_set_is_to_be_corrected(
    status: str, body: bytes, advice: str, peer: Peer
) -> None:
    error = await refused(peer, answer(status, body))
    assert (error.advice or "").startswith(advice)
    error = await refused(peer, answer(status, body), address=EQUIPPED)
    corrected = advice.removeprefix("the server requires a token: ").replace("set ", "correct ")
    assert (error.advice or "").startswith(corrected)


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
@pytest.mark.parametrize(("more", "within"), [(0, CONNECT_TIMEOUT), (10, 0)])
async def test_an_answer_that_does_not_end(more: int, within: float, peer: Peer) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000000\r\n\r\nno brokers\n"
    error = await refused(peer, head, *[b"x" * 10_000] * more, within=within)
    assert str(error) == f"{SAID}403: no brokers"


@autojump
async def test_what_comes_right_behind_an_opened_websocket_is_no_refusal(peer: Peer) -> None:
    """However much it is; and a session that ends later ends for its own reason."""
    attempt = peer.listen(replace(ADDRESS, max_message_bytes=1_000_000))
    stream, request = await peer.read_request()
    accepted = handshake(request)
    frame = b"\x82\x7f" + (900_000).to_bytes(8) + b"HTTP/1.1 403 Forbidden\r\n\r\n".ljust(900_000)
    too_big = b"\x82\x7f" + (1_000_001).to_bytes(8) + b"x" * 1_000_001
    await stream.send_all(accepted + frame + too_big)
    assert isinstance(await attempt.end(1), MessageTooBigError)


@autojump
async def test_a_subprotocol_that_was_not_offered(peer: Peer) -> None:
    attempt = peer.listen()
    stream, request = await peer.read_request()
    await stream.send_all(handshake(request, b"Sec-WebSocket-Protocol: v1.agents\r\n"))
    error = await attempt.end()
    assert isinstance(error, WebSocketError)
    assert "v1.agents" in str(error)
    assert error.advice is not None
    assert "WEBSOCKET_SUBPROTOCOL" in error.advice
