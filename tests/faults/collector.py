"""Takes everything out of a queue as it comes, so that the queue is empty almost always."""

import time
from collections.abc import Iterable

import trio

from tests.faults.taken import Taken, taken
from tests.lab.amqp_connection import connect

_TIMEOUT = 10.0
_PAUSE = 0.1
"""Seconds until it is looked again whether there is a queue."""


class Collector:
    """Collects until it is stopped. A queue that is deleted is waited for.

    Args:
        queue: The queue. What is on its way when a node dies is lost with it.
    """

    def __init__(self, urls: Iterable[str], queue: str, collected: list[Taken]) -> None:
        self._urls = tuple(urls)
        self._queue = queue
        self._collected = collected
        self._stopped = False

    async def run(self) -> None:
        """Collect until `stop`. It is never cancelled."""
        await trio.to_thread.run_sync(self._run)

    def stop(self) -> None:
        """Take no more. Does not wait."""
        self._stopped = True

    def _run(self) -> None:
        while not self._stopped:
            try:
                with connect(*self._urls, timeout=_TIMEOUT) as connection:
                    for message in connection.consume(self._queue, lambda: self._stopped):
                        self._collected.append(taken(message))
            except OSError:
                time.sleep(_PAUSE)
