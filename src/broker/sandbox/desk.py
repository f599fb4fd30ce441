"""Where a slow agent works: on one message after the other."""

from collections import deque
from collections.abc import Callable

import trio

from broker.concurrency.wakeup import Wakeup


class Desk:
    """Keeps work in order, and takes its time for each piece.

    Args:
        seconds: Returns how many seconds the next piece takes.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._waiting: deque[Callable[[], None]] = deque()
        self._arrived = Wakeup()
        self._is_open = False

    def put(self, work: Callable[[], None]) -> None:
        """Have some work done when its turn has come; at once, unless somebody works here."""
        if not self._is_open:
            work()
            return
        self._waiting.append(work)
        self._arrived.set()

    async def run(self) -> None:
        """Work until cancelled; what is left then is done at once."""
        self._is_open = True
        try:
            while True:
                while not self._waiting:
                    await self._arrived.wait()
                await trio.sleep(self._seconds())
                self._waiting.popleft()()
        finally:
            self._is_open = False
            while self._waiting:
                self._waiting.popleft()()
