"""Two ways for one Trio task to tell another that something changed."""

import trio


class Wakeup:
    """Wakes the task that waits, or the next one that will: an auto-reset event."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """Wake the waiting task. Setting it twice before somebody waits counts once."""
        self._event.set()

    def clear(self) -> None:
        """Forget that it was set. A task that waits goes on waiting."""
        if self._event.is_set():
            self._event = trio.Event()

    async def wait(self) -> None:
        """Wait until it is set, and clear it. Only one task may wait."""
        await self._event.wait()
        self.clear()


class Gate:
    """Open or closed; tasks wait for either. Closed at first."""

    def __init__(self) -> None:
        self._opened = trio.Event()
        self._closed = trio.Event()
        self._closed.set()

    @property
    def is_open(self) -> bool:
        """Whether it is open now."""
        return self._opened.is_set()

    def open(self) -> None:
        """Open it. Does nothing when it is open."""
        if not self.is_open:
            self._opened.set()
            self._closed = trio.Event()

    def close(self) -> None:
        """Close it. Does nothing when it is closed."""
        if self.is_open:
            self._closed.set()
            self._opened = trio.Event()

    async def opened(self) -> None:
        """Wait until it is opened. It may be closed again when the caller gets to run."""
        await self._opened.wait()

    async def closed(self) -> None:
        """Wait until it is closed. It may be open again when the caller gets to run."""
        await self._closed.wait()
