"""When known agents sent their last message."""

from collections.abc import Callable

_SLACK = 1_000
"""Agents that the registry has forgotten, of which so many may be kept until they are dropped."""


class LastMessages:
    """Remembers the time of the last message of each agent that has sent any.

    A time costs nothing per message, as those that arrive together share it; and agents that send
    nothing cost no memory.

    Attributes:
        now: When the messages arrived that are noted next, in seconds since 1970.

    Args:
        known_count: Returns how many agents are known.
        is_known: Whether the registry has an agent.
    """

    def __init__(self, known_count: Callable[[], int], is_known: Callable[[str], bool]) -> None:
        self.now = 0.0
        self._known_count = known_count
        self._is_known = is_known
        self._at: dict[str, float] = {}

    def begin_batch(self, now: float) -> None:
        """Let the messages that are noted next have arrived now; drop whom the registry forgot."""
        self.now = now
        if len(self._at) > 2 * self._known_count() + _SLACK:
            self._at = {one: at for one, at in self._at.items() if self._is_known(one)}

    def note(self, agent_id: str) -> None:
        """Take note of a message of a known agent. O(1)."""
        self._at[agent_id] = self.now

    def at(self, agent_id: str) -> float | None:
        """Return when an agent sent its last message, in seconds since 1970; None if never."""
        return self._at.get(agent_id)
