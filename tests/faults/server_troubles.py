"""What a central server can do to a broker, connection by connection."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec
import trio

from tests.faults.bad_server import REGISTERED, Peer
from tests.lab.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    closing,
    frame,
    text,
)

SILENCE = 3
"""The broker's `BROKER_WEBSOCKET_SILENCE`, in seconds."""
MAX_BYTES = 65_536
"""The broker's `BROKER_WEBSOCKET_MAX_BYTES`."""
_PING: bytes = text({"message_type": "PING"})
_FLOOD = 30.0
"""Seconds; within them a broker that is not read, and is sent more and more, must have left."""
_DEADLINE = 15.0
"""Seconds for what the broker gives 10 s."""


class Trouble(msgspec.Struct, frozen=True):
    """One way in which a server can behave.

    Attributes:
        error: What the broker must say of it in its log.
    """

    name: str
    inflict: Callable[[Peer], Awaitable[None]]
    error: str = ""


def _after_registration(*frames: bytes, is_open: bool = True) -> Callable[[Peer], Awaitable[None]]:
    """Send frames, and leave the connection open (or close it) without another word."""

    async def inflict(peer: Peer) -> None:
        await peer.register()
        await peer.hear("REQUEST_AGENT_STATUS")
        await peer.stream.send_all(b"".join(frames))
        if is_open:
            await peer.gone()

    return inflict


def _before_the_handshake(answer: bytes, *, is_open: bool) -> Callable[[Peer], Awaitable[None]]:
    async def inflict(peer: Peer) -> None:
        await peer.requested()
        await peer.stream.send_all(answer)
        if is_open:
            await peer.gone()

    return inflict


def _refusal(message: dict[str, str]) -> Callable[[Peer], Awaitable[None]]:
    async def inflict(peer: Peer) -> None:
        await peer.accept()
        await peer.hear("REGISTER_BROKER")
        await peer.stream.send_all(text(message) + 3 * frame(PING, b"are you there?"))
        await peer.gone()

    return inflict


def _orderly(code: int | None) -> Callable[[Peer], Awaitable[None]]:
    async def inflict(peer: Peer) -> None:
        await peer.register()
        await peer.stream.send_all(closing(code))
        await peer.hear_close()

    return inflict


async def _hang_up_at_once(_: Peer) -> None:
    pass


async def _hang_up_after_the_request(peer: Peer) -> None:
    await peer.requested()


async def _hang_up_before_the_registration(peer: Peer) -> None:
    await peer.accept()


async def _say_nothing(peer: Peer) -> None:
    await peer.register()
    await peer.gone(within=SILENCE + 5)


async def _read_nothing(peer: Peer) -> None:
    await peer.register()
    with trio.move_on_after(_FLOOD), suppress(trio.BrokenResourceError):
        while True:
            await peer.stream.send_all(100 * _PING)
    await peer.gone()


async def _no_handshake(peer: Peer) -> None:
    await peer.requested()
    await peer.gone(within=_DEADLINE)


async def _no_registration(peer: Peer) -> None:
    await peer.accept()
    for _ in range(int(_DEADLINE)):
        await trio.sleep(1)
        with suppress(trio.BrokenResourceError):
            await peer.stream.send_all(_PING)
    await peer.gone()


async def _ping_while_closing(peer: Peer) -> None:
    await peer.register()
    await peer.stream.send_all(closing(1000))
    with suppress(trio.BrokenResourceError):
        for _ in range(20):
            await peer.stream.send_all(frame(PING, b"still here?"))
            await trio.sleep(0.02)
    await peer.gone()


async def _one_byte_at_a_time(peer: Peer) -> None:
    await peer.accept()
    await peer.hear("REGISTER_BROKER")
    for byte in text(REGISTERED) + text(peer.full_update()) + _PING:
        await peer.stream.send_all(bytes([byte]))
        await trio.lowlevel.checkpoint()  # or many go at once
    await peer.hear("PONG")


async def _in_pieces(peer: Peer) -> None:
    await peer.register()
    payload = msgspec.json.encode(peer.full_update())
    pieces = [payload[start : start + 7] for start in range(0, len(payload), 7)]
    await peer.stream.send_all(frame(TEXT, pieces[0], is_final=False))
    for piece in pieces[1:-1]:
        # Control frames may come between the pieces of a message.
        await peer.stream.send_all(frame(CONTINUATION, piece, is_final=False) + frame(PING))
    await peer.stream.send_all(frame(CONTINUATION, pieces[-1]) + _PING)
    await peer.hear("PONG")


async def _rubbish(peer: Peer) -> None:
    await peer.register()
    await peer.stream.send_all(frame(BINARY, b"\x00\xff" * 500))
    for rubbish in _RUBBISH:
        await peer.stream.send_all(frame(TEXT, rubbish))
    for number in range(1_000):
        await peer.stream.send_all(text({"message_type": f"NEWS_{number}"}))
    await peer.stream.send_all(_PING)
    await peer.hear("PONG")


_RUBBISH = (
    b"",
    b"no JSON",
    b"[]",
    b"null",
    b"7",
    b"{}",
    b'{"message_type": 5}',
    b'{"message_type": "PING"',
    b'{"message_type": "\\ud800"}',
    b"\xef\xbb\xbf{}",
    b'{"a": NaN, "message_type": "PING"}',
    b"[" * 10_000,
    b'{"a": ' + b"9" * 5_000 + b', "message_type": "NEWS"}',
    b'{"message_type": "AGENT_STATUS_UPDATE"}',
    b'{"message_type": "AGENT_STATUS_UPDATE", "agents": {}}',
    b'{"message_type": "AGENT_STATUS_UPDATE", "agents": [], "is_full_update": "yes"}',
    b'{"message_type": "AGENT_STATUS_UPDATE", "agents": [5, null, {}, {"agent_id": ""}]}',
    b'{"message_type": "AGENT_STATUS_UPDATE", "agents": [{"agent_id": "x", "is_online": "yes"}]}',
    b'{"message_type": "ERROR", "text_payload": "what is REQUEST_AGENT_STATUS?"}',
    b'{"message_type": "REGISTER_BROKER_RESPONSE", "status": "success", "broker_id": 5}',
)

_WRONG_KEY = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n"
)
_RULES = "violates the WebSocket protocol"
_CLOSED = "closed with code"
_TOO_BIG = "BROKER_WEBSOCKET_MAX_BYTES"
_CODES = (*(1000, 1001, 1002, 1003, 1007, 1008), *(1010, 1011, 1012, 1013, 3000, 4000, 4999))

CLOSINGS: Sequence[Trouble] = (
    *(Trouble(f"closes by {code}", _orderly(code), f"{_CLOSED} {code}") for code in _CODES),
    Trouble("closes without a code", _orderly(None), _CLOSED),
    Trouble("closes by 1009", _orderly(1009)),
)
"""The closing handshake as it should be, with each code."""

BREACHES: tuple[Trouble, ...] = (
    Trouble("hangs up in the registration", _hang_up_before_the_registration),
    Trouble(
        "garbage instead of a handshake",
        _before_the_handshake(
            b"SSH-2.0-OpenSSH_9.6\r\n" + bytes(range(256)) + b"\r\n\r\n", is_open=True
        ),
        _RULES,
    ),
    Trouble("a handshake with the wrong key", _before_the_handshake(_WRONG_KEY, is_open=True)),
    Trouble(
        "HTTP instead of a WebSocket",
        _before_the_handshake(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", is_open=True),
        "HTTP status 200",
    ),
    Trouble(
        "refuses by ERROR",
        _refusal({"message_type": "ERROR", "text_payload": "not today"}),
        "refused the broker: not today",
    ),
    Trouble(
        "refuses by status",
        _refusal({"message_type": "REGISTER_BROKER_RESPONSE", "status": "failure"}),
        "refused the broker: failure",
    ),
    Trouble("keeps TCP open after closing", _after_registration(closing(1000)), f"{_CLOSED} 1000"),
    Trouble("pings while closing", _ping_while_closing, f"{_CLOSED} 1000"),
    Trouble("too large a message", _after_registration(frame(TEXT, b"x" * 100_000)), _TOO_BIG),
    Trouble(
        "too large a message, in pieces",
        _after_registration(
            frame(TEXT, b"x" * 40_000, is_final=False), frame(CONTINUATION, b"x" * 40_000)
        ),
        _TOO_BIG,
    ),
    Trouble("bad UTF-8", _after_registration(frame(TEXT, b'{"message_type": "\xff"}'))),
    Trouble("a message too short", _after_registration(frame(TEXT, b"{}")[:-1], is_open=False)),
    *(
        Trouble(name, _after_registration(frames))
        for name, frames in (
            ("an unknown opcode", frame(5, b"?")),
            ("reserved bits", frame(TEXT, b"{}", reserved=5)),
            ("a masked frame", frame(TEXT, b"{}", is_masked=True)),
            ("a continuation of nothing", frame(CONTINUATION, b"{}")),
            ("a message within a message", frame(TEXT, b"{", is_final=False) + frame(TEXT, b"{}")),
            ("a ping in pieces", frame(PING, b"?", is_final=False)),
            ("a ping too large", frame(PING, b"?" * 126)),
            ("a code of one byte", frame(CLOSE, b"\x03")),
            ("a code that is none", closing(1006)),
            ("a code younger than the library", closing(1014)),
            ("a closing reason that is not UTF-8", closing(1000, b"\xff")),
            ("HTTP within the WebSocket", b"HTTP/1.1 500 Oops\r\n\r\n"),
        )
    ),
)
"""What breaks the protocol, or the connection."""

PATIENCE: Sequence[Trouble] = (
    Trouble("one byte at a time", _one_byte_at_a_time),
    Trouble("messages in pieces", _in_pieces),
    Trouble("rubbish", _rubbish),
)
"""What a session must survive."""

HANGS: Sequence[Trouble] = (
    Trouble("says nothing", _say_nothing, f"no frame for {SILENCE} s"),
    Trouble("reads nothing", _read_nothing),
)
"""What a session must not wait for."""

HANG_UPS: Sequence[Trouble] = (
    Trouble("hangs up at once", _hang_up_at_once),
    Trouble("hangs up in the handshake", _hang_up_after_the_request),
    Trouble(
        "half a handshake",
        _before_the_handshake(b"HTTP/1.1 101 Switching Protocols\r\nUpgr", is_open=False),
    ),
)
"""The library does not say that there is nobody any more; the deadline of 10 s does."""

LONG_HANGS: Sequence[Trouble] = (
    Trouble("no answer to the handshake", _no_handshake, "no answer within 10 s"),
    Trouble("no answer to the registration", _no_registration, "no answer to the registration"),
)
"""The same, by deadlines of 10 s."""
