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
        since: When that state began; for `blocked`, when the session was opened.
        reconnects: `lost` and `failed_tries` together; superseded by them.
        error: Why it was lost or could not be established the last time, at `error_at`. While it
            is connected, that is past.
        lost: How often a connection was lost that had been established.
        failed_tries: How often none could be established.
    """

    state: Literal["connecting", "connected", "blocked"]
    peer: str
    since: datetime
    reconnects: int = 0
    error: str | None = None
    error_at: datetime | None = None
    lost: int = 0
    failed_tries: int = 0


class Connectivity:
    """Follows one connection through its lives; see `ConnectionStatus`. One task writes it."""

    def __init__(self, peer: str) -> None:
        self.is_connected = False
        self.losses = 0
        self.failed_tries = 0
        self.error: str | None = None
        self._error_at: datetime | None = None
        self._peer = peer
        self._since = datetime.now(UTC)

    @property
    def reconnects(self) -> int:
        """How often it was lost or could not be established."""
        return self.losses + self.failed_tries

    def connecting(self, peer: str) -> None:
        """Take note of a try."""
        self._peer = peer

    def connected(self) -> None:
        """Take note that it succeeded."""
        if not self.is_connected:
            self.is_connected = True
            self._since = datetime.now(UTC)

    def lost(self, error: str) -> None:
        """Take note that a try failed, or that the connection was lost."""
        now = datetime.now(UTC)
        if self.is_connected:
            self.is_connected = False
            self._since = now
            self.losses += 1
        else:
            self.failed_tries += 1
        self.error, self._error_at = error, now

    def status(self, *, is_blocked: bool = False) -> ConnectionStatus:
        """Return what is known now."""
        state: Literal["connecting", "connected", "blocked"] = "connecting"
        if self.is_connected:
            state = "blocked" if is_blocked else "connected"
        return ConnectionStatus(
            state,
            self._peer,
            self._since,
            self.reconnects,
            self.error,
            self._error_at,
            self.losses,
            self.failed_tries,
        )
