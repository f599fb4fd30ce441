"""Frames that are sound outside, with anything inside."""

from collections.abc import Iterator

from pamqp.constants import FRAME_END_CHAR

from tests.fuzz.frames import check_pieces

_TYPES = (1, 2, 3, 8)


def check(data: bytes) -> None:
    """Read the frames that an input describes, at once and one by one.

    An input consists of frames, each a byte for type and channel, a byte for the length, and the
    payload.
    """
    frames = list(_frames(data))
    check_pieces([b"".join(frames)], frames)


def _frames(data: bytes) -> Iterator[bytes]:
    position = 0
    while position + 2 <= len(data):
        kind, size = data[position], data[position + 1]
        payload = data[position + 2 : position + 2 + size]
        position += 2 + size
        frame_type, channel = _TYPES[kind & 3], kind >> 2 & 3
        yield b"".join(
            (
                bytes([frame_type]),
                channel.to_bytes(2),
                len(payload).to_bytes(4),
                payload,
                FRAME_END_CHAR,
            )
        )
