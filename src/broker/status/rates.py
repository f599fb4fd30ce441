"""Messages per second, from counters that only grow."""

from collections import deque
from itertools import pairwise

from broker.status.model import Rates

_HISTORY = 60
_AVERAGED = 10


class RateHistory:
    """The last minute of two counters, looked at once a second."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=_HISTORY + 1)

    def add(self, received: int, published: int) -> None:
        """Take note of the counters; to be called once a second."""
        self._seen.append((received, published))

    def rates(self) -> Rates:
        """Return the rates as of the latest second."""
        steps = [(later[0] - one[0], later[1] - one[1]) for one, later in pairwise(self._seen)]
        received, published = [step[0] for step in steps], [step[1] for step in steps]
        return Rates(_average(received), _average(published), received, published)


def _average(history: list[int]) -> float:
    latest = history[-_AVERAGED:]
    return sum(latest) / len(latest) if latest else 0.0
