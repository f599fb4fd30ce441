"""What is known of the connection to one peer."""

from datetime import UTC, datetime
from typing import Literal

import msgspec


class ConnectionStatus(msgspec.Struct, frozen=True):
    """The connection to RabbitMQ or to the central server.

    Attributes:
        state: `connecting` until the peer lets the broker work: RabbitMQ when the session is open,
            the server when it has accepted the registration. `blocked` is RabbitMQ's only: an
            alarm, in which it takes no messages.
        peer: Whom it leads to, without any secret.
        reconnects: How often it was lost, or could not be established; `error` is why, last time.
    """

    state: Literal["connecting", "connected", "blocked"]
    peer: str
    since: datetime
    reconnects: int = 0
    error: str | None = None


class Connectivity:
    """Follows one connection through its lives; see `ConnectionStatus`. One task writes it."""

    def __init__(self, peer: str) -> None:
        self.is_connected = False
        self.reconnects = 0
        self.error: str | None = None
        self._peer = peer
        self._since = datetime.now(UTC)

    def connecting(self, peer: str) -> None:
        """Take note of a try."""
        self._peer = peer

    def connected(self) -> None:
        """Take note that it succeeded."""
        if not self.is_connected:
            self.is_connected = True
            self._since = datetime.now(UTC)

    def lost(self, error: str) -> None:
        """Take note that it failed, or that the connection was lost."""
        if self.is_connected:
            self.is_connected = False
            self._since = datetime.now(UTC)
        self.reconnects += 1
        self.error = error

    def status(self, *, is_blocked: bool = False) -> ConnectionStatus:
        """Return what is known now."""
        state: Literal["connecting", "connected", "blocked"] = "connecting"
        if self.is_connected:
            state = "blocked" if is_blocked else "connected"
        return ConnectionStatus(state, self._peer, self._since, self.reconnects, self.error)
