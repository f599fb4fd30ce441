"""Whether the registry is known, and recent enough to route by."""

import math


class RegistryFreshness:
    """Decides when messages may be taken from the input queue.

    They may once the registry is known. When the server has been gone for too long they may not,
    until a status update arrives. All times are in seconds of one monotonic clock.

    Args:
        ttl: How long the registry is good without the server; 0 means forever.
        now: The current time. Until the server is connected it counts as gone since now.
    """

    def __init__(self, ttl: float, now: float) -> None:
        self._ttl = ttl or math.inf
        self._is_known = False
        self._is_stale = False
        self._gone_since: float | None = now

    def status_updated(self) -> None:
        """Note a status update, which proves that the server is connected, accepted or not."""
        self._is_known = True
        self._is_stale = False
        self._gone_since = None

    def agent_registered(self) -> None:
        """Note a registration by queue."""
        self._is_known = True

    def server_connected(self) -> None:
        """Note that the server is connected."""
        self._gone_since = None

    def server_lost(self, now: float) -> None:
        """Note that the server is gone."""
        if self._gone_since is None:
            self._gone_since = now

    def expires_at(self) -> float:
        """Return when the registry will go stale; infinite if it will not, or is already."""
        if self._gone_since is None or self._is_stale:
            return math.inf
        return self._gone_since + self._ttl

    def is_fresh(self, now: float) -> bool:
        """Return whether messages may be routed."""
        if now >= self.expires_at():
            self._is_stale = True
        return self._is_known and not self._is_stale
