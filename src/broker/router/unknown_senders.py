"""Decide when to ask the central server about senders that are not in the registry."""

import math
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

import trio

from broker.core.agent_ids import is_agent_id

_ROWS = 1024
"""Senders are hashed to rows, which bounds the memory. Two senders in one row share its pauses, so
the question about one of them may be late."""
_FIRST_PAUSE = 5.0
"""Seconds; doubles with each question."""
_LONGEST_PAUSE = 600.0
_FORGOTTEN = 3600.0
"""Seconds since the last question after which a row starts over."""


class _Asked(NamedTuple):
    """The last question about a sender of one row."""

    at: float
    pause: float  # seconds until the next
    sender_id: str


class UnknownSenders:
    """Asks for a status update when an unknown agent sends, at growing intervals.

    A sender that the server does not list stays unknown, however often the server is asked. So the
    pause between two questions grows per sender, and is measured again from each full update, which
    answers for all senders at once.

    Args:
        status_answered: Called when all questions are answered, so that one that was not sent yet
            need not be.
    """

    def __init__(
        self,
        *,
        is_known: Callable[[str], bool],
        status_wanted: Callable[[], None],
        status_answered: Callable[[], None],
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self._is_known = is_known
        self._status_wanted = status_wanted
        self._status_answered = status_answered
        self._now = now
        self._asked: dict[int, _Asked] = {}
        self._unanswered: set[int] = set()
        self._all_listed_at = -math.inf

    def noticed(self, sender_id: str) -> None:
        """Ask about the sender of a message, unless it is too early to ask again. O(1)."""
        if not is_agent_id(sender_id):
            return
        now = self._now()
        row = crc32(sender_id.encode(errors="surrogatepass")) % _ROWS
        asked = self._asked.get(row)
        if asked is None or now - asked.at > _FORGOTTEN:
            asked = _Asked(-math.inf, _FIRST_PAUSE, sender_id)
        if now < max(asked.at, self._all_listed_at) + asked.pause:
            return
        self._asked[row] = _Asked(now, min(2 * asked.pause, _LONGEST_PAUSE), sender_id)
        self._unanswered.add(row)
        self._status_wanted()

    def status_updated(self, *, is_full: bool) -> None:
        """Drop the questions that a status update has answered, now that it is applied."""
        if is_full:
            self._all_listed_at = self._now()
            self._unanswered.clear()
        elif self._unanswered:
            self._unanswered = {row for row in self._unanswered if self._is_open(self._asked[row])}
        else:
            return
        if not self._unanswered:
            self._status_answered()

    def _is_open(self, asked: _Asked) -> bool:
        # An older question was sent already.
        return not self._is_known(asked.sender_id) and self._now() < asked.at + _FIRST_PAUSE
