"""One message of the dead-letter queue, as far as it can be understood."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from broker.amqp.admin import DeadLetterLabel, Got, read_dead_letter, read_rabbitmqs_dead_letter


class Letter(msgspec.Struct, frozen=True):
    """A message in the dead-letter queue.

    Attributes:
        number: Its position, from 1 for the oldest; in parts, that of the last.
        label: What a broker or RabbitMQ says of it, None when it is no dead letter of either.
        problem: Why it is none, or not whole.
        messages: Its parts, as they are in the queue; empty when it is in one piece.
    """

    number: int
    message: Got
    label: DeadLetterLabel | None
    problem: str | None = None
    is_complete: bool = True
    messages: Sequence[Got] = ()

    @property
    def in_queue(self) -> Sequence[Got]:
        """What it consists of in the queue."""
        return self.messages or (self.message,)

    @property
    def id(self) -> str | None:
        """Its AMQP `message_id`: the original's, or the broker's own."""
        value = self.message.properties.get("message_id")
        return value if isinstance(value, str) else None

    def has_id(self, wanted: Collection[str]) -> bool:
        """Return whether one of these is its id, or the `message_id` in its body."""
        if self.id in wanted:
            return True
        try:
            return msgspec.json.decode(self.message.body, type=_Body).message_id in wanted
        except (ValueError, RecursionError):
            return False

    def age(self, now: datetime) -> timedelta | None:
        """Return how long ago it was dead-lettered; None when nobody knows."""
        # Clocks of two machines differ.
        return max(now - self.label.at, timedelta()) if self.label is not None else None


class _Body(msgspec.Struct):
    message_id: str


def read_letter(number: int, message: Got) -> Letter:
    """Understand a message. Never raises, though anybody may have put it there."""
    if message.properties_error is not None:
        return Letter(number, message, None, message.properties_error)
    try:
        return Letter(number, message, read_dead_letter(message.headers))
    except ValueError as error:
        label = read_rabbitmqs_dead_letter(message.headers)
        return Letter(number, message, label, None if label is not None else str(error))
