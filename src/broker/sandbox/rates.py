"""How fast messages are accounted for, now and over the last minute."""

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

_RATE_SPAN = 5.0
_HISTORY = 60
_BLOCKS = "▁▂▃▄▅▆▇█"


class RateMeter:
    """How fast a counter grows.

    Attributes:
        history: The growth in each of the last seconds, the latest last; a minute of them.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self._second = (clock(), 0)
        self.history: deque[float] = deque(maxlen=_HISTORY)

    def rate(self, count: int) -> float:
        """Take the counter's value of now, and return its growth per second in the last seconds."""
        now = self._clock()
        self._samples.append((now, count))
        while now - self._samples[0][0] > _RATE_SPAN:
            self._samples.popleft()
        since, before = self._second
        if now - since >= 1:
            self.history.append((count - before) / (now - since))
            self._second = (now, count)
        since, before = self._samples[0]
        return (count - before) / (now - since) if now > since else 0.0


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw the last values as bars of a character each, the highest one full."""
    shown = list(values)[-width:] if width > 0 else []
    highest = max(shown, default=0)
    scale = (len(_BLOCKS) - 1) / highest if highest else 0
    return "".join(_BLOCKS[round(value * scale)] for value in shown)
