"""Says in the log what was dead-lettered: at once, but not once for each message."""

import math
from collections import Counter

import structlog

from broker.messages import RejectReason

_INTERVAL = 1.0
"""Seconds between two reports: an agent that sends nothing but rubbish must not flood the log."""

_log = structlog.get_logger(__name__)


class RejectLog:
    """Counts dead letters and reports them, the first at once. Times are of one monotonic clock."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, RejectReason]] = Counter()
        self._earliest = -math.inf

    def add(self, queue: str, reason: RejectReason) -> None:
        """Count one dead letter from a queue."""
        self._counts[queue, reason] += 1

    def due_at(self) -> float:
        """Return when the next report is due; infinity while there is nothing to report."""
        return self._earliest if self._counts else math.inf

    def report(self, now: float) -> None:
        """Log what was counted since the last report, if a report is due."""
        if now < self.due_at():
            return
        for (queue, reason), count in self._counts.items():
            _log.warning("dead_lettered", queue=queue, reason=reason.value, count=count)
        self._counts.clear()
        self._earliest = now + _INTERVAL
