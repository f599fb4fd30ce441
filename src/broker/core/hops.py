"""Loops of agents that answer each other: count the answers behind a message."""

from typing import NamedTuple

from broker.core.messages import MAX_MESSAGE_ID_LENGTH, ChatMessage

_REMEMBERED = 50_000
"""Messages kept at least, and twice as many at most: that takes some 15 MB."""


class Hop(NamedTuple):
    """The place of a message in a row of answers."""

    number: int  # 1 for a message that answers none that is remembered
    message_id: str | None  # None if it must not be remembered


class HopCounter:
    """Counts the messages that answer each other in a row.

    Neither agents nor servers have to do anything for it: it remembers the ids of the latest
    messages, and each names the one that it answers. What was forgotten, or went through another
    broker, counts as the first of its row.
    """

    def __init__(self) -> None:
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def hop(self, message: ChatMessage) -> Hop:
        """Return where a message stands in its row. O(1), and remembers nothing."""
        answered = message.in_reply_to
        number = self._number(answered) + 1 if answered else 1
        message_id = message.text("message_id")
        # A self-reply must not be remembered, or every redelivery would add a hop.
        if message_id and message_id != answered and len(message_id) <= MAX_MESSAGE_ID_LENGTH:
            return Hop(number, message_id)
        return Hop(number, None)

    def _number(self, message_id: str) -> int:
        return self._recent.get(message_id) or self._older.get(message_id, 0)

    def remember(self, hop: Hop) -> None:
        """Remember a message, so that its answers are counted. O(1)."""
        if hop.message_id is None:
            return
        if len(self._recent) >= _REMEMBERED:
            self._older, self._recent = self._recent, {}
        self._recent[hop.message_id] = hop.number
