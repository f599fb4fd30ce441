"""What the status says of a dead letter."""

from datetime import UTC, datetime

from broker.amqp.dead_letter import ERROR_HEADER
from broker.amqp.delivery import Settlement
from broker.amqp.wire.properties import decode_properties
from broker.core.codec import sender_of
from broker.telemetry.tally import DeadLetterNote


def note_of(settlement: Settlement, queue: str, reason: str) -> DeadLetterNote:
    """Return a note of a dead letter that RabbitMQ has confirmed; of bounded size."""
    letter = settlement.publishing
    kept = None if letter is None else letter.kept
    return DeadLetterNote(
        reason=reason,
        queue=queue,
        at=datetime.now(UTC),
        sender=sender_of(settlement.delivery.body),
        error="" if letter is None else letter.headers.get(ERROR_HEADER, ""),
        message_id=None if kept is None else decode_properties(kept).message_id,
    )
