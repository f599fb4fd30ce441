"""What became of each message: the ledger of a sandbox run, without any I/O.

A message is accounted for once it was delivered to an agent, or its sender was told that nobody
can receive it, or it lies in the dead-letter queue. Whatever contradicts the ledger is written down
as unexpected.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

_RECENT_ROUTES = 100
_UNEXPECTED_KEPT = 20


class Route(NamedTuple):
    """Who sent a message and who was chosen to receive it."""

    sender_id: str
    receiver_id: str


@dataclass(slots=True)
class _Sent:
    """What is known of one message."""

    sender_id: str
    malformed: bool
    routed_to: list[str] = field(default_factory=list)
    delivered_to: list[str] = field(default_factory=list)
    not_routed: bool = False
    """Failed, or dead-lettered."""

    @property
    def accounted_for(self) -> bool:
        return bool(self.delivered_to) or self.not_routed


class Ledger:
    """The ledger of one run. Each message has an id of its own; a malformed one its marker.

    The first decision about a message counts as routed, failed or dead-lettered; all that comes
    after it, and every delivery that no route explains, is a duplicate, as at-least-once allows.

    Attributes:
        failed: How many came back because nobody could receive them.
        duplicates: How many decisions and deliveries were repeated.
        unexpected_count: How much contradicts the ledger.
        unexpected: The first of it, one line each.
        received_by: How many were delivered to each agent, duplicates included.
        ahead_of: How many were routed to each agent, which has not come to them yet.
        recent_routes: The latest last.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._messages: dict[str, _Sent] = {}
        self._first_sent: float | None = None
        self._last_accounted = 0.0
        self.malformed = 0
        self.routed = 0
        self.failed = 0
        self.dead_lettered = 0
        self.accounted_for = 0
        self.duplicates = 0
        self.unexpected_count = 0
        self.unexpected: list[str] = []
        self.sent_by: Counter[str] = Counter()
        self.received_by: Counter[str] = Counter()
        self.ahead_of: Counter[str] = Counter()
        self.recent_routes: deque[Route] = deque(maxlen=_RECENT_ROUTES)

    @property
    def sent(self) -> int:
        """How many messages were sent."""
        return len(self._messages)

    @property
    def open(self) -> int:
        """How many messages are still under way."""
        return self.sent - self.accounted_for

    def record_sent(self, message_id: str, sender_id: str, *, malformed: bool = False) -> None:
        """Record a message that is about to be published."""
        if self._first_sent is None:
            self._first_sent = self._last_accounted = self._clock()
        self._messages[message_id] = _Sent(sender_id, malformed)
        self.malformed += malformed
        self.sent_by[sender_id] += 1

    def record_routed(self, message_id: str, receiver_id: str) -> None:
        """Record that the broker chose a receiver."""
        message = self._sent(message_id, "was routed")
        if message is None:
            return
        if message.malformed:
            self.record_unexpected(f"{message_id} is malformed, but was routed")
        if receiver_id == message.sender_id:
            self.record_unexpected(f"{message_id} was routed back to its sender")
        self.routed += self._is_first_decision(message)
        message.routed_to.append(receiver_id)
        self.ahead_of[receiver_id] += 1
        self.recent_routes.append(Route(message.sender_id, receiver_id))

    def record_failed(self, message_id: str) -> None:
        """Record the broker's answer that nobody can receive a message."""
        message = self._sent(message_id, "failed")
        if message is not None:
            self.failed += self._is_first_decision(message)
            self._account_for(message)
            message.not_routed = True

    def record_dead_lettered(self, message_id: str) -> None:
        """Record a message that came into the dead-letter queue."""
        message = self._sent(message_id, "was dead-lettered")
        if message is None:
            return
        if not message.malformed:
            self.record_unexpected(f"{message_id} was dead-lettered, but is well-formed")
        self.dead_lettered += self._is_first_decision(message)
        self._account_for(message)
        message.not_routed = True

    def record_delivered(self, message_id: str, agent_id: str) -> bool:
        """Record what an agent has dealt with, and return whether it is new to all agents."""
        message = self._messages.get(message_id)
        if message is None:
            self.record_unexpected(f"{agent_id} received {message_id}, but nobody sent it")
            return False
        self.received_by[agent_id] += 1
        if agent_id not in message.routed_to:
            self.record_unexpected(f"{agent_id} received {message_id}, which is not for it")
        elif message.delivered_to.count(agent_id) >= message.routed_to.count(agent_id):
            self.duplicates += 1
        else:
            self.ahead_of[agent_id] -= 1
        is_new = not message.delivered_to
        self._account_for(message)
        message.delivered_to.append(agent_id)
        return is_new

    def record_unexpected(self, what: str) -> None:
        """Record what should not happen, in one line."""
        self.unexpected_count += 1
        if len(self.unexpected) < _UNEXPECTED_KEPT:
            self.unexpected.append(what)

    def missing(self) -> list[str]:
        """Return the ids of all messages that are still under way, oldest first."""
        return [name for name, message in self._messages.items() if not message.accounted_for]

    def share(self, agent_id: str) -> float:
        """Return which part of all deliveries an agent received, from 0 to 1."""
        total = self.received_by.total()
        return self.received_by[agent_id] / total if total else 0.0

    def duration(self) -> float:
        """Return the seconds from the first message sent to the last one accounted for."""
        return 0.0 if self._first_sent is None else self._last_accounted - self._first_sent

    def rate(self) -> float:
        """Return how many messages a second were accounted for."""
        duration = self.duration()
        return self.accounted_for / duration if duration else 0.0

    def _sent(self, message_id: str, what_happened: str) -> _Sent | None:
        message = self._messages.get(message_id)
        if message is None:
            self.record_unexpected(f"{message_id} {what_happened}, but nobody sent it")
        return message

    def _is_first_decision(self, message: _Sent) -> bool:
        is_repeated = bool(message.routed_to) or message.not_routed
        self.duplicates += is_repeated
        return not is_repeated

    def _account_for(self, message: _Sent) -> None:
        if not message.accounted_for:
            self.accounted_for += 1
            self._last_accounted = self._clock()
