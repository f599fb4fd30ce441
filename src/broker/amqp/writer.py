"""The one writer of a connection's frequent frames."""

import asyncio

from aiormq.abc import ChannelFrame


class FrameWriter:
    """Collects frames and writes those that came together at once, in the order of the calls.

    Publishings and acknowledgements carry numbers that RabbitMQ counts along, so there must be no
    second way for them to the socket.

    Args:
        queue: aiormq's own queue of what to write, which takes its own frames as well.
    """

    def __init__(self, queue: "asyncio.Queue[ChannelFrame]") -> None:
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._unwritten: list[bytes] = []
        self._changed = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()

    def write(self, frames: bytes) -> None:
        """Write frames soon. Does not wait; what waits is bounded by the messages in flight."""
        self._unwritten.append(frames)
        self._changed.set()
        self._flushed.clear()

    async def flushed(self) -> None:
        """Wait until everything is handed to the operating system."""
        await self._flushed.wait()

    async def run(self) -> None:
        """Write until cancelled. A connection that is lost leaves it waiting."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            payload = b"".join(self._unwritten)
            self._unwritten.clear()
            # While the socket takes no more, what comes meanwhile is collected for the next write.
            drained = self._loop.create_future()
            await self._queue.put(ChannelFrame(payload, should_close=False, drain_future=drained))
            await drained
            if not self._unwritten:
                self._flushed.set()
