"""What became of each message: the ledger of a sandbox run, without any I/O.

A message is accounted for once it was delivered to an agent, or its sender was told that nobody
can receive it, or it was dead-lettered. Everything that contradicts the ledger is written down as
unexpected.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from time import monotonic

from broker.sandbox.feed import Feed, NotRouted, Routed

_UNEXPECTED_KEPT = 20


class Outcome(Enum):
    """What first accounted for a message."""

    DELIVERED = auto()
    FAILED = auto()
    DEAD_LETTERED = auto()


@dataclass(slots=True)
class _Sent:
    """What is known of one message."""

    sender_id: str
    message_type: str
    text: str
    malformed: bool
    routed_to: list[str] = field(default_factory=list)
    delivered_to: list[str] = field(default_factory=list)
    not_routed: bool = False
    """Failed, or dead-lettered."""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Awaited:
    """Messages that somebody waits for; those that are accounted for are taken out."""

    message_ids: set[str]
    done: Callable[[], None]


class Ledger:
    """The ledger of one run. Each message has an id of its own; a malformed one its marker.

    The sum always closes: `sent` is `delivered` + `failed` + `dead_lettered` + `open`, as each
    message counts for what first accounted for it. A decision about a message that was decided
    before, and each delivery that no route explains, is a duplicate, as at-least-once allows.

    Attributes:
        feed: What has just happened.
        guests: How many of the messages were sent from outside.
        duplicates: How many decisions and deliveries were repeated.
        unexpected_count: How much contradicts the ledger.
        unexpected: The first of it, one line each.
        received_by: How many were delivered to each agent, duplicates included.
        ahead_of: How many were routed to each agent, which has not come to them yet.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.feed = Feed(clock)
        self._messages: dict[str, _Sent] = {}
        self._first_sent: float | None = None
        self._last_accounted = 0.0
        self._outcomes: Counter[Outcome] = Counter()
        self._awaited: list[_Awaited] = []
        self.malformed = 0
        self.guests = 0
        self.duplicates = 0
        self.unexpected_count = 0
        self.unexpected: list[str] = []
        self.sent_by: Counter[str] = Counter()
        self.received_by: Counter[str] = Counter()
        self.ahead_of: Counter[str] = Counter()

    @property
    def sent(self) -> int:
        """How many messages were sent."""
        return len(self._messages)

    @property
    def delivered(self) -> int:
        """How many came to an agent."""
        return self._outcomes[Outcome.DELIVERED]

    @property
    def failed(self) -> int:
        """How many came back because nobody could receive them."""
        return self._outcomes[Outcome.FAILED]

    @property
    def dead_lettered(self) -> int:
        """How many were dead-lettered."""
        return self._outcomes[Outcome.DEAD_LETTERED]

    @property
    def accounted_for(self) -> int:
        """How many messages are not under way any more."""
        return self._outcomes.total()

    @property
    def open(self) -> int:
        """How many messages are still under way."""
        return self.sent - self.accounted_for

    def record_sent(
        self,
        message_id: str,
        sender_id: str,
        message_type: str = "TEXT",
        text: str = "",
        *,
        malformed: bool = False,
    ) -> None:
        """Record a message that is about to be published."""
        if self._first_sent is None:
            self._first_sent = self._last_accounted = self._clock()
        self._messages[message_id] = _Sent(sender_id, message_type, text, malformed)
        self.malformed += malformed
        self.sent_by[sender_id] += 1

    def record_guest(self, message_id: str, sender_id: str, message_type: str, text: str) -> None:
        """Record a message that was sent from outside, when it is first seen."""
        if message_id not in self._messages:
            self.record_sent(message_id, sender_id, message_type, text)
            self.guests += 1

    def record_routed(self, message_id: str, receiver_id: str) -> None:
        """Record that the broker chose a receiver."""
        message = self._sent(message_id, "was routed")
        if message is None:
            return
        if message.malformed:
            self.record_unexpected(f"{message_id} is malformed, but was routed")
        if receiver_id == message.sender_id:
            self.record_unexpected(f"{message_id} was routed back to its sender")
        self._count_repeated_decision(message)
        message.routed_to.append(receiver_id)
        self.ahead_of[receiver_id] += 1
        self.feed.add(Routed(message.sender_id, receiver_id, message.message_type, message.text))

    def record_failed(self, message_id: str, reason: str = "") -> None:
        """Record the broker's answer that nobody can receive a message."""
        message = self._sent(message_id, "failed")
        if message is not None:
            self._record_not_routed(message_id, message, Outcome.FAILED, reason)

    def record_dead_lettered(
        self, message_id: str, reason: str = "", *, is_guest: bool = False
    ) -> None:
        """Record a message that came into the dead-letter queue."""
        message = self._sent(message_id, "was dead-lettered")
        if message is None:
            return
        if not (message.malformed or is_guest):
            self.record_unexpected(f"{message_id} was dead-lettered, but is well-formed")
        self._record_not_routed(message_id, message, Outcome.DEAD_LETTERED, reason)

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
        message.delivered_to.append(agent_id)
        self._account_for(message_id, message, Outcome.DELIVERED)
        return is_new

    def record_unexpected(self, what: str) -> None:
        """Record what should not happen, in one line."""
        self.unexpected_count += 1
        if len(self.unexpected) < _UNEXPECTED_KEPT:
            self.unexpected.append(what)

    def when_accounted_for(self, message_ids: Collection[str], done: Callable[[], None]) -> None:
        """Call a function once all of some messages that are under way are accounted for."""
        if message_ids:
            self._awaited.append(_Awaited(set(message_ids), done))

    def missing(self) -> list[str]:
        """Return the ids of all messages that are still under way, oldest first."""
        return [name for name, message in self._messages.items() if message.outcome is None]

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

    def _record_not_routed(
        self, message_id: str, message: _Sent, outcome: Outcome, reason: str
    ) -> None:
        self._count_repeated_decision(message)
        message.not_routed = True
        self._account_for(message_id, message, outcome)
        is_dead_letter = outcome is Outcome.DEAD_LETTERED
        self.feed.add(NotRouted(message.sender_id, reason, message.text, is_dead_letter))

    def _count_repeated_decision(self, message: _Sent) -> None:
        self.duplicates += bool(message.routed_to) or message.not_routed

    def _account_for(self, message_id: str, message: _Sent, outcome: Outcome) -> None:
        if message.outcome is not None:
            return
        message.outcome = outcome
        self._outcomes[outcome] += 1
        self._last_accounted = self._clock()
        for awaited in tuple(self._awaited):
            awaited.message_ids.discard(message_id)
            if not awaited.message_ids:
                self._awaited.remove(awaited)
                awaited.done()
