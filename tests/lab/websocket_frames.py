"""WebSocket frames of a server, whether the protocol allows them or not."""

from collections.abc import Mapping

import msgspec

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
_MASK = bytes(4)


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    is_final: bool = True,
    reserved: int = 0,
    is_masked: bool = False,
) -> bytes:
    """Return one WebSocket frame, whether the protocol allows it or not."""
    first = is_final << 7 | reserved << 4 | opcode
    masked = is_masked << 7
    size = len(payload)
    if size < 126:
        head = bytes([first, masked | size])
    elif size < 1 << 16:
        head = bytes([first, masked | 126]) + size.to_bytes(2)
    else:
        head = bytes([first, masked | 127]) + size.to_bytes(8)
    return head + (_MASK if is_masked else b"") + payload


def text(message: Mapping[str, object]) -> bytes:
    return frame(TEXT, msgspec.json.encode(message))


def closing(code: int | None, reason: bytes = b"") -> bytes:
    """Return the frame that begins the closing handshake."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason)
