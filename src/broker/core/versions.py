"""The order of what brokers tell each other: a hybrid logical clock.

A version is a time and who took it. Times come from the machine's clock, but never go back and are
always later than whatever was heard of before; so a change that was made in knowledge of another
counts as the later of the two, however the clocks of two machines differ. See Kulkarni and others,
"Logical Physical Clocks", 2014; the counter they keep beside the time is part of the time here.
"""

import time
from collections.abc import Callable
from typing import NamedTuple


class Version(NamedTuple):
    """When something changed, and by whose word. Versions are ordered, and no two are the same."""

    at: int  # microseconds since 1970, about
    origin: str  # unique among all brokers


class ServerVersion(Version):
    """The version of a status update: it changed by the word of the server."""

    __slots__ = ()


NEVER = Version(0, "")
"""Before everything."""


class VersionClock:
    """Gives versions, each later than all that it gave or saw.

    Args:
        now: Returns the microseconds since 1970.
    """

    def __init__(
        self, origin: str, now: Callable[[], int] = lambda: time.time_ns() // 1_000
    ) -> None:
        self.origin = origin
        self._now = now
        self._latest = 0

    def upcoming(self) -> Version:
        """Return a version for what changes now; until it is observed, the next is no later."""
        return Version(max(self._now(), self._latest + 1), self.origin)

    def next(self) -> Version:
        """Return a version for what changes now, and observe it."""
        version = self.upcoming()
        self._latest = version.at
        return version

    def observe(self, version: Version) -> None:
        """Take note of a version that somebody else gave."""
        self._latest = max(self._latest, version.at)

    def seconds_since(self, version: Version) -> float:
        """Return how long ago a version was given, by this machine's clock; may be negative."""
        return (self._now() - version.at) / 1_000_000
