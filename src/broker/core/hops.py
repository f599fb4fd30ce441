"""Agents that answer each other for ever: how many answers stand behind a message."""

from broker.core import codec
from broker.core.messages import ChatMessage

_REMEMBERED = 50_000
"""Messages kept at least, and twice as many at most: that takes some 15 MB."""
_MAX_ID_LENGTH = 255
_REPLY_FIELDS = ("in_reply_to_message_id", "in_reply_to")


class HopCounter:
    """Counts the messages that answer each other in a row.

    Neither agents nor servers have to do anything for it: it remembers the ids of the latest
    messages, and each names the one that it answers. What was forgotten, or went through another
    broker, counts as the first of its row.
    """

    def __init__(self) -> None:
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def count(self, message: ChatMessage) -> int:
        """Return how many messages stand in a row with this one at its end: 1 or more. O(1)."""
        names = (codec.string_field(message.fields, field) for field in _REPLY_FIELDS)
        answered = next((name for name in names if name), None)
        hops = 1 if answered is None else self._hops(answered) + 1
        message_id = codec.string_field(message.fields, "message_id")
        # Who answers himself, which is not to count, would count anew with each redelivery.
        if message_id and message_id != answered and len(message_id) <= _MAX_ID_LENGTH:
            self._remember(message_id, hops)
        return hops

    def _hops(self, message_id: str) -> int:
        return self._recent.get(message_id) or self._older.get(message_id, 0)

    def _remember(self, message_id: str, hops: int) -> None:
        if len(self._recent) >= _REMEMBERED:
            self._older, self._recent = self._recent, {}
        self._recent[message_id] = hops
