"""Signal a change from one Trio task to another."""

import trio


class Wakeup:
    """An auto-reset event: wakes the task that waits, or the next one that will."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake the waiting task. Setting it twice before a wait counts once."""
        self._event.set()

    def clear(self) -> None:
        """Reset it. A waiting task goes on waiting."""
        if self._event.is_set():
            self._event = trio.Event()

    async def wait(self) -> None:
        """Wait until it is set, and reset it. Only one task may wait."""
        await self._event.wait()
        self.clear()


class Gate:
    """Open or closed, initially closed; tasks can wait for either."""

    def __init__(self) -> None:
        self._opened = trio.Event()
        self._closed = trio.Event()
        self._closed.set()

    @property
    def is_open(self) -> bool:
        """Whether it is open now."""
        return self._opened.is_set()

    def open(self) -> None:
        """Open it. Does nothing if it is open."""
        if not self.is_open:
            self._opened.set()
            self._closed = trio.Event()

    def close(self) -> None:
        """Close it. Does nothing if it is closed."""
        if self.is_open:
            self._closed.set()
            self._opened = trio.Event()

    async def opened(self) -> None:
        """Wait until it is opened. It may be closed again when the caller runs."""
        await self._opened.wait()

    async def closed(self) -> None:
        """Wait until it is closed. It may be open again when the caller runs."""
        await self._closed.wait()
