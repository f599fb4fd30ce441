"""Since when routing is paused, whatever the reason."""

from datetime import UTC, datetime


class Pauses:
    """Follows by looks, once a second, whether routing is paused.

    Attributes:
        since: When a look found it paused first; None while it is not.
    """

    def __init__(self) -> None:
        self.since: datetime | None = None

    def look(self, *, is_paused: bool) -> None:
        """Take note of how it is now."""
        if not is_paused:
            self.since = None
        elif self.since is None:
            self.since = datetime.now(UTC)
