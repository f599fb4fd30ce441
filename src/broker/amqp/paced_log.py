"""Log lines for what happens by the thousand: the first at once, then a count once a second."""

import asyncio
from collections import Counter

import structlog

_INTERVAL = 1.0
"""Seconds between two lines of a kind."""

_log = structlog.get_logger(__name__)


class PacedLog:
    """Counts events and warns of them. Used in the asyncio event loop."""

    def __init__(self, count: str = "count") -> None:
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._unreported: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._next_report = 0.0

    def add(self, event: str, **fields: str) -> None:
        """Count an event; equal ones share a line."""
        if not self._unreported:
            self._loop.call_at(self._next_report, self.flush)
        self._unreported[event, tuple(fields.items())] += 1

    def flush(self) -> None:
        """Log what was counted since the last line."""
        for (event, fields), count in self._unreported.items():
            _log.warning(event, **dict(fields), **{self._count: count})
        self._unreported.clear()
        self._next_report = self._loop.time() + _INTERVAL
