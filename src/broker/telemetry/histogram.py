"""Durations by size, in as many numbers as there are buckets."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts observations by upper bound, as Prometheus does. One thread writes it.

    Attributes:
        bounds: Upper bounds of the buckets, growing; one more bucket takes what is larger.
        total: The sum of all observations.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Count observations of one value."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count
