"""When to ask the central server about senders that the registry does not know."""

import math
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

import trio

from broker.core.agent_ids import is_agent_id

_ROWS = 1024
"""Senders are kept apart by a hash, so that any number of them takes this much memory at most.
Two senders in one row share its pauses, and one of them may be asked about later."""
_FIRST_PAUSE = 5.0
"""Seconds. It doubles with each question."""
_LONGEST_PAUSE = 600.0
_FORGOTTEN = 3600.0
"""Seconds since the last question after which a row starts anew."""


class _Asked(NamedTuple):
    """The last question about the senders of one row.

    Attributes:
        at: When it was asked.
        pause: Seconds until the next one.
        sender_id: The sender that it was about.
    """

    at: float
    pause: float
    sender_id: str


class UnknownSenders:
    """Asks for a status update when an agent sends that the registry lacks, and ever more rarely.

    A sender that the server does not list stays unknown, however often the server is asked. So the
    pause between two questions grows for each sender, and begins anew with each full update, which
    answers for all senders at once.

    Args:
        is_known: Returns whether the registry knows an agent.
        status_wanted: Called to ask for a status update.
        status_answered: Called when what was asked for has come, so that a question that has not
            left yet need not leave.
        now: Returns the time in seconds.
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
        """Take note of a message from a sender that the registry does not know. O(1)."""
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
        """Take note that a status update was applied to the registry."""
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
        # An older question has left already.
        return not self._is_known(asked.sender_id) and self._now() < asked.at + _FIRST_PAUSE
