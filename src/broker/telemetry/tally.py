"""What the broker counts, from its start on.

Plain numbers, written where things happen and read by whoever asks. Each tally has one writer.
"""

from collections import Counter, deque
from datetime import datetime
from enum import StrEnum

import msgspec

from broker.core.messages import RejectReason
from broker.telemetry.histogram import Histogram

UNACCEPTED = "unaccepted"
"""Stands for the type of a message that is dead-lettered, whatever it says of itself."""

DEAD_LETTERED = "dead_lettered"
"""The outcome of messages that the dead-letter queue has taken."""

_LATEST = 20
_ROUTING_BOUNDS = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1)
_POLICY_BOUNDS = (2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1)
_ANSWER_BOUNDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_CONFIRM_BOUNDS = (1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0)


class MessageOutcome(StrEnum):
    """What came of a message. These codes are stable."""

    ROUTED = "routed"
    NO_AGENT_ONLINE = "no_agent_online"
    ONLY_SENDER_ONLINE = "only_sender_online"
    RECEIVER_OFFLINE = "receiver_offline"
    NO_CAPABLE_AGENT = "no_capable_agent"
    HELD = "held"
    HELD_AGAIN = "held_again"
    FORWARDED = "forwarded"
    REGISTERED = "registered"
    DISCONNECTED = "disconnected"
    ADVERTISED = "advertised"
    REPLICATED = "replicated"

    # Enum's own is written in Python, and it is asked for with each message.
    __hash__ = str.__hash__


class DeadLetterNote(msgspec.Struct, frozen=True):
    """That a message went to the dead-letter queue; of its body only who it says it is from.

    Sender and id come from outside: escape them.

    Attributes:
        sender: The `sender_id`, or the `agent_id` that it is about, if it can be read.
        error: What is wrong with it, in at most 255 bytes.
        message_id: The AMQP message id of the dead letter, if it is known and not too long.
    """

    reason: str
    queue: str
    at: datetime
    sender: str | None = None
    error: str = ""
    message_id: str | None = None


class MessageTally:
    """What became of the messages; the router task writes it."""

    def __init__(self) -> None:
        self.received: Counter[tuple[str, str]] = Counter()  # by queue and message type
        self.redelivered = 0
        self.outcomes = dict.fromkeys(MessageOutcome, 0)
        self.statuses_skipped = 0  # unusable entries of status updates
        # From the mailbox to the settlement, on the average of those that arrived together.
        self.routing_seconds = Histogram(_ROUTING_BOUNDS)
        self.policy_seconds = Histogram(_POLICY_BOUNDS)  # that the policy took, unless by chance
        self.policy_errors = 0
        self.answer_seconds = Histogram(_ANSWER_BOUNDS)  # from a message to its answer

    def decided(
        self, source: str, message_type: str, outcome: MessageOutcome | None, *, redelivered: bool
    ) -> None:
        """Count a message; without an outcome it is to be dead-lettered."""
        if outcome is not MessageOutcome.HELD_AGAIN:  # it was received before
            self.received[source, message_type] += 1
        if outcome is not None:
            self.outcomes[outcome] += 1
        if redelivered:
            self.redelivered += 1


class PublishTally:
    """What RabbitMQ confirmed; the AMQP thread writes it."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.renewed = (
            0  # messages published anew to their own queue, to reset their delivery count
        )
        # By reason; all are there from the start, because other threads read it.
        self.dead_lettered: dict[str, int] = {reason.value: 0 for reason in RejectReason}
        self.latest_dead_letters: deque[DeadLetterNote] = deque(maxlen=_LATEST)
        # From a publishing to its confirm; of those under way, one at a time is measured.
        self.confirm_seconds = Histogram(_CONFIRM_BOUNDS)

    def dead_letter(self, note: DeadLetterNote) -> None:
        """Count a dead letter that RabbitMQ has confirmed."""
        self.dead_lettered[note.reason] += 1
        self.latest_dead_letters.append(note)


def outcomes(messages: MessageTally, publishings: PublishTally) -> dict[str, int]:
    """Return how many messages had which outcome, dead letters included."""
    decided = {outcome.value: count for outcome, count in messages.outcomes.items()}
    return {**decided, DEAD_LETTERED: sum(publishings.dead_lettered.values())}


class ServerTally:
    """What the central server sent that is of no use; the link writes it."""

    def __init__(self) -> None:
        # Frames by reject reason, or `unknown_type`. All are there from the start: Prometheus sees
        # no growth in a counter that begins with one.
        self.ignored = Counter({**dict.fromkeys(map(str, RejectReason), 0), "unknown_type": 0})
        self.too_big = 0  # sessions that a message over `BROKER_WEBSOCKET_MAX_BYTES` ended
