"""What repeated looks at a queue tell: how it grows, and whether anybody takes messages out of it.

RabbitMQ's own numbers are of one moment. A queue that a reader empties by the dozen looks full in
half of them, and one whose reader hangs looks well attended in all of them.
"""

from collections import deque
from itertools import pairwise
from typing import NamedTuple

_SPAN = 60.0
"""Seconds that are looked back."""
_LEAST_SPAN = 10.0
"""Seconds of looks without which nothing is said of how a queue changes."""
_LEAST_GROWTH = 1.0
"""Messages per second, below which a queue counts as level."""
_LEAST_SHARE = 0.05
"""Of its messages: a long queue that grew by less in the time looked back counts as level."""
_NEAR_PEAK = 0.9
"""Of the most messages of the last ten seconds: with fewer, a queue is being emptied by now."""


class QueueCounts(NamedTuple):
    """What RabbitMQ says of a queue, and what that means in the light of earlier looks.

    Attributes:
        messages: Those ready to be delivered.
        growth: Messages per second, on the average of the last minute; None in the first ten
            seconds.
        is_unread: Whether messages wait, there is no consumer, and for ten seconds the queue has
            not got any shorter.
        is_growing: Whether it has become notably longer in the last minute, without ever having
            been empty, and is not being emptied by now: not a burst, but more than its readers can
            take.
    """

    messages: int
    consumers: int
    growth: float | None = None
    is_unread: bool = False
    is_growing: bool = False


class _Look(NamedTuple):
    at: float
    messages: int
    consumers: int


class QueueHistory:
    """The looks at one queue in the last minute."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()

    def add(self, at: float, messages: int, consumers: int) -> QueueCounts:
        """Take note of what was seen.

        Args:
            at: Seconds, by a clock that never goes back.
        """
        looks = self._looks
        looks.append(_Look(at, messages, consumers))
        while len(looks) > 1 and looks[1].at <= at - _SPAN:
            looks.popleft()
        span = at - looks[0].at
        growth = (messages - looks[0].messages) / span if span >= _LEAST_SPAN else None
        return QueueCounts(messages, consumers, growth, self._is_unread(), self._is_growing())

    def _is_unread(self) -> bool:
        last = self._looks[-1].at
        since = max((one.at for one in self._looks if one.at <= last - _LEAST_SPAN), default=None)
        if since is None:
            return False
        looks = [one for one in self._looks if one.at >= since]
        return all(one.messages and not one.consumers for one in looks) and all(
            one.messages <= later.messages for one, later in pairwise(looks)
        )

    def _is_growing(self) -> bool:
        first, last = self._looks[0], self._looks[-1]
        gained, span = last.messages - first.messages, last.at - first.at
        peak = max(one.messages for one in self._looks if one.at >= last.at - _LEAST_SPAN)
        return (
            span >= _SPAN
            and last.messages >= _NEAR_PEAK * peak
            and all(one.messages for one in self._looks)
            and gained >= max(_LEAST_GROWTH * span, _LEAST_SHARE * last.messages)
        )
