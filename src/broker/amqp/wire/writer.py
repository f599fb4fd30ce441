"""The way to the socket for a connection's frequent frames."""

import asyncio

from broker.amqp.wire.errors import translated


class FrameWriter:
    """Writes frames at once, beside aiormq, which writes what is rare.

    aiormq has a queue for frames and a task that empties it. They take more than a tenth of the CPU
    time of a message that comes alone, and their way to the socket is the same: whole frames, in
    one thread.
    """

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self._stream = stream

    def write(self, frames: bytes) -> None:
        """Write whole frames. Does not wait; what waits is bounded by the messages in flight.

        On a connection that is lost it does nothing: the session ends.
        """
        if not self._stream.is_closing():
            self._stream.write(frames)

    @property
    def unsent(self) -> int:
        """Bytes that the operating system has not taken yet."""
        return self._stream.transport.get_write_buffer_size()

    async def flushed(self) -> None:
        """Wait until the operating system has taken all but what fits into asyncio's buffer.

        Raises:
            AmqpError: The connection was lost.
        """
        with translated("writing to RabbitMQ"):
            await self._stream.drain()
