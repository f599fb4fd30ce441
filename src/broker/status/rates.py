"""Messages per second and RabbitMQ's confirms, over five minutes and an hour.

Made from counters that only grow, looked at once a second, so that nothing is done per message.
"""

from collections import deque
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

import msgspec

from broker.status.model import Rates

_HISTORY = 60
_AVERAGED = 10
_STEPS = 300
"""Of each series. There are two, so an hour takes the memory of ten minutes."""


class Span(StrEnum):
    """How far a series goes back."""

    MINUTES = "minutes"  # five, in steps of a second
    HOUR = "hour"  # in steps of twelve seconds


class Counters(NamedTuple):
    """What was counted up to one moment."""

    received: int
    published: int
    confirm_seconds: float = 0.0  # the sum of all measured confirms
    confirms: int = 0  # how many were measured


class Series(msgspec.Struct, frozen=True):
    """What happened in up to 300 steps of equal length, the latest last.

    Attributes:
        until: When the last step ended; None before the first.
        received: Messages per second.
        published: Messages per second that RabbitMQ confirmed.
        confirm_seconds: From a publishing to its confirm, on average; None where none was measured.
    """

    step_seconds: int
    until: datetime | None = None
    received: list[float] = []
    published: list[float] = []
    confirm_seconds: list[float | None] = []


class _Looks:
    """The counters at the ends of the steps of one series."""

    def __init__(self, step_seconds: int) -> None:
        self.step_seconds = step_seconds
        self.counters: deque[Counters] = deque(maxlen=_STEPS + 1)
        self._until: datetime | None = None

    def add(self, counters: Counters) -> None:
        self.counters.append(counters)
        self._until = datetime.now(UTC)

    def series(self) -> Series:
        steps = [_Step(before, after) for before, after in pairwise(self.counters)]
        seconds = self.step_seconds
        return Series(
            seconds,
            self._until if steps else None,
            [round(step.received / seconds, 2) for step in steps],
            [round(step.published / seconds, 2) for step in steps],
            [step.confirm_seconds for step in steps],
        )


class _Step(NamedTuple):
    before: Counters
    after: Counters

    @property
    def received(self) -> int:
        return self.after.received - self.before.received

    @property
    def published(self) -> int:
        return self.after.published - self.before.published

    @property
    def confirm_seconds(self) -> float | None:
        confirms = self.after.confirms - self.before.confirms
        if confirms <= 0:
            return None
        return round((self.after.confirm_seconds - self.before.confirm_seconds) / confirms, 6)


class RateHistory:
    """The last hour of the counters, in bounded memory."""

    def __init__(self) -> None:
        self._looks = {Span.MINUTES: _Looks(1), Span.HOUR: _Looks(12)}
        self._count = 0

    def add(self, counters: Counters) -> None:
        """Take note of the counters; to be called once a second."""
        for looks in self._looks.values():
            if self._count % looks.step_seconds == 0:
                looks.add(counters)
        self._count += 1

    def rates(self) -> Rates:
        """Return the rates as of the latest second."""
        latest = list(self._looks[Span.MINUTES].counters)[-_HISTORY - 1 :]
        steps = [_Step(before, after) for before, after in pairwise(latest)]
        received, published = [one.received for one in steps], [one.published for one in steps]
        return Rates(_average(received), _average(published), received, published)

    def series(self, span: Span) -> Series:
        """Return the steps of the last five minutes, or of the last hour."""
        return self._looks[span].series()


def _average(history: list[int]) -> float:
    latest = history[-_AVERAGED:]
    return sum(latest) / len(latest) if latest else 0.0
