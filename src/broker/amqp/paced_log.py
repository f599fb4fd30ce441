"""Log lines for what happens by the thousand: the first at once, then a count once a second."""

import asyncio
from collections import Counter

import structlog

_INTERVAL = 1.0
"""Seconds between two lines of a kind."""

_log = structlog.get_logger(__name__)


class PacedLog:
    """Counts events of a kind and warns of them. Used in the asyncio event loop.

    Args:
        event: The log event.
        count: The name under which a line gives how many there were.
    """

    def __init__(self, event: str, count: str = "count") -> None:
        self._event = event
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._unreported: Counter[tuple[tuple[str, str], ...]] = Counter()
        self._next_report = 0.0

    def add(self, **fields: str) -> None:
        """Count an event; those with equal fields share a line."""
        if not self._unreported:
            self._loop.call_at(self._next_report, self.flush)
        self._unreported[tuple(fields.items())] += 1

    def flush(self) -> None:
        """Log what was counted since the last line."""
        for fields, count in self._unreported.items():
            _log.warning(self._event, **dict(fields), **{self._count: count})
        self._unreported.clear()
        self._next_report = self._loop.time() + _INTERVAL
