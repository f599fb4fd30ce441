"""How a delivery that cannot be processed is parked: as it came, and with the reason."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from broker.amqp.delivery import Delivery, Got, Publishing
from broker.amqp.properties import MAX_REPLAYS, REPLAYS_HEADER, count_replays, forwarded_headers

_REASON = "x-broker-reason"
_ERROR = "x-broker-error"
_QUEUE = "x-original-queue"
_BROKER_ID = "x-broker-id"
_AT = "x-dead-lettered-at"
_MAX_BYTES = 255
"""Of a reason or a queue's name: AMQP itself allows no longer names."""
_MAX_ERROR_BYTES = 255


def dead_letter(
    delivery: Delivery, *, queue: str, reason: str, error: str, broker_id: str
) -> Publishing:
    """Return the publishing that dead-letters a delivery.

    Args:
        delivery: The delivery; its body is kept byte for byte.
        queue: The dead-letter queue.
        reason: A stable code.
        error: One line for a person; cut at 255 bytes.
        broker_id: Who could not process it.
    """
    return Publishing(
        queue=queue,
        body=delivery.body,
        app_id=broker_id,
        correlation_id=delivery.correlation_id,
        headers={
            **delivery.headers,
            **_replays(delivery.replays),
            _REASON: reason,
            _ERROR: _one_line(error),
            _QUEUE: delivery.queue,
            _BROKER_ID: broker_id,
            _AT: datetime.now(UTC).isoformat(timespec="milliseconds"),
        },
    )


class Parked(msgspec.Struct, frozen=True):
    """What the headers of a dead letter say.

    Attributes:
        reason: The stable code.
        error: The line for a person; empty when there is none.
        queue: The queue that the message came from.
        broker_id: Who could not process it; empty when nobody says so.
        at: When.
        replays: How often it was replayed before.
    """

    reason: str
    error: str
    queue: str
    broker_id: str
    at: datetime
    replays: int


def read_dead_letter(headers: Mapping[str, object]) -> Parked:
    """Read what `dead_letter` wrote, or somebody else pretends that it did.

    Args:
        headers: AMQP headers, with values of any kind.

    Raises:
        ValueError: This is no dead letter of a broker; the text says why, in a part of a sentence
            that quotes nothing.
    """
    return Parked(
        reason=_short_text(headers, _REASON),
        error=_text_or_nothing(headers, _ERROR),
        queue=_short_text(headers, _QUEUE),
        broker_id=_text_or_nothing(headers, _BROKER_ID),
        at=_time(headers),
        replays=count_replays(headers),
    )


def replayed(message: Got, parked: Parked, *, app_id: str) -> Publishing:
    """Return the publishing that brings a parked message back to its queue, one replay older.

    Args:
        message: The dead letter; its body is kept byte for byte.
        parked: What its headers say.
        app_id: Who publishes.
    """
    return Publishing(
        queue=parked.queue,
        body=message.body,
        app_id=app_id,
        correlation_id=message.correlation_id,
        headers={
            **forwarded_headers(message.headers),
            **_replays(min(parked.replays + 1, MAX_REPLAYS)),
        },
    )


def _replays(count: int) -> Mapping[str, str]:
    return {REPLAYS_HEADER: str(count)} if count else {}


def _short_text(headers: Mapping[str, object], name: str) -> str:
    match headers.get(name):
        case None:
            raise ValueError(f"its header {name} is missing")
        case str(text) if text and len(text.encode(errors="replace")) <= _MAX_BYTES:
            return text
    raise ValueError(f"its header {name} is no short text")


def _text_or_nothing(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(name)
    return _one_line(value) if isinstance(value, str) else ""


def _time(headers: Mapping[str, object]) -> datetime:
    text = _short_text(headers, _AT)
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:  # else it would be taken for this machine's time
            return at.astimezone(UTC)
    raise ValueError(f"its header {_AT} is no time with a zone")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    # A lone surrogate has no UTF-8. A cut inside of a character leaves bytes that `ignore` drops.
    return line.encode(errors="replace")[:_MAX_ERROR_BYTES].decode(errors="ignore")
