"""Keep the server's answer to the handshake, in case it is a refusal."""

import re

import trio

_LONGEST = 1 << 16
"""Bytes of a refusal; what follows is never shown."""
_OPENING = re.compile(rb"HTTP/\d\.\d 101\b")
_STATUS_LINE_BYTES = 13
"""Up to and including the character behind the status."""


class HandshakeEndedError(Exception):
    """The connection ended during the handshake; the cause says how, unless it was closed."""


class HandshakeAnswer(trio.abc.Stream):
    """A stream that keeps what it receives during the handshake.

    The WebSocket library reports a refusal only when its body is complete, and the end of the
    connection not at all: its caller would wait for the deadline. So until a WebSocket is open,
    `HandshakeEndedError` is raised when the connection has ended, or a refusal is too long. With
    TLS, the sender may be the first to see the alert that says why.

    Attributes:
        received: A refusal, as far as it arrived, or the head of the answer that opens a WebSocket.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.received = bytearray()
        self._is_open = False
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive from the stream below."""
        if self._is_open:
            return await self._stream.receive_some(max_bytes)
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError as error:
            raise HandshakeEndedError from error
        self.received += data
        if len(self.received) >= _STATUS_LINE_BYTES and _OPENING.match(self.received):
            self._is_open = True
            del self.received[self.received.find(b"\r\n\r\n") :]
        elif not data or len(self.received) >= _LONGEST:
            raise HandshakeEndedError
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send on the stream below."""
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            if self._is_open:
                raise
            raise HandshakeEndedError from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for the stream below."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close the stream below."""
        await self._stream.aclose()
