"""Reading and replaying dead letters, those of a broker and those that RabbitMQ itself made."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from broker.amqp.admin.getter import Got
from broker.amqp.dead_letter import (
    ADDED_HEADER,
    AT_HEADER,
    BROKER_ID_HEADER,
    COPY_HEADERS,
    ERROR_HEADER,
    OWN_HEADERS,
    QUEUE_HEADER,
    REASON_HEADER,
    one_line,
    replays_header,
)
from broker.amqp.wire.properties import (
    DELIVERY_COUNT_HEADER,
    MAX_REPLAYS,
    REPLAYS_HEADER,
    count_replays,
)
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.raw_properties import (
    edit_headers,
    join_properties,
    short_string,
    split_properties,
)

_DEATH = ("exchange", "queue", "reason")
_RABBITMQS_HEADERS = (
    "x-death",
    *(f"x-first-death-{what}" for what in _DEATH),
    *(f"x-last-death-{what}" for what in _DEATH),
)
_ERRORS = {
    "delivery_limit": "returned more often than the queue's delivery limit allows",
    "expired": "waited longer than its time to live",
    "maxlen": "there was no room for it in the queue",
    "rejected": "a consumer rejected it",
}
RABBITMQS_REASONS = tuple(_ERRORS)
"""Why RabbitMQ itself dead-letters a message."""
_MAX_BYTES = 255
"""Of a reason or a queue's name: AMQP itself allows no longer names."""


class DeadLetterLabel(msgspec.Struct, frozen=True):
    """What the headers of a dead letter say."""

    reason: str
    error: str
    queue: str
    broker_id: str
    at: datetime
    replays: int


def read_dead_letter(headers: Mapping[str, object]) -> DeadLetterLabel:
    """Read what `dead_letter` wrote, or somebody else pretends that it did.

    Raises:
        ValueError: This is no dead letter of a broker; the text says why, in a part of a sentence
            that quotes nothing.
    """
    return DeadLetterLabel(
        reason=_short_text(headers, REASON_HEADER),
        error=_text_or_nothing(headers, ERROR_HEADER),
        queue=_short_text(headers, QUEUE_HEADER),
        broker_id=_text_or_nothing(headers, BROKER_ID_HEADER),
        at=_time(headers),
        replays=count_replays(headers.get(REPLAYS_HEADER)),
    )


def read_rabbitmqs_dead_letter(headers: Mapping[str, object]) -> DeadLetterLabel | None:
    """Read what RabbitMQ wrote into `x-death`, or somebody else pretends that it did.

    RabbitMQ dead-letters by itself, following a policy or a queue's arguments.

    Returns:
        What the latest entry says, None when there is none.
    """
    match headers.get("x-death"):
        case [
            {"reason": str(reason), "queue": str(queue), "time": datetime() as time},
            *_,
        ] if reason and queue and max(map(_size, (reason, queue))) <= _MAX_BYTES:
            error = _ERRORS.get(reason, "see the header x-death")
            at = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
            replays = count_replays(headers.get(REPLAYS_HEADER))
            return DeadLetterLabel(reason, f"RabbitMQ: {error}", queue, "", at, replays)
    return None


def replayed(message: Got, label: DeadLetterLabel, *, app_id: str) -> Publishing:
    """Return the publishing that brings a dead letter back to its queue, one replay older.

    It has the properties and headers of the original, but never `user_id`, `CC` or `BCC`. Its
    `expiration` stays in a header: it would begin anew, and end in nobody's hands what an operator
    wants to be processed.

    Args:
        message: The dead letter, with properties that can be read; its body is kept byte for byte.
        app_id: Who publishes; set when the original did not say who sent it.
    """
    properties = split_properties(message.raw_properties)
    added = message.headers.get(ADDED_HEADER)
    names = ("user_id", "expiration", *(added.split(",") if isinstance(added, str) else ()))
    kept = {name: value for name, value in properties.items() if name not in names}
    # RabbitMQ added its own to its own letters, as a broker does to its.
    own = OWN_HEADERS if REASON_HEADER in message.headers else _RABBITMQS_HEADERS
    edit_headers(kept, drop=(*own, *COPY_HEADERS, DELIVERY_COUNT_HEADER))
    kept.setdefault("app_id", short_string(app_id))
    return Publishing(
        queue=label.queue,
        body=message.body,
        app_id=app_id,
        headers=replays_header(min(label.replays + 1, MAX_REPLAYS)),
        kept=join_properties(kept),
    )


def _short_text(headers: Mapping[str, object], name: str) -> str:
    match headers.get(name):
        case None:
            raise ValueError(f"its header {name} is missing")
        case str(text) if text and _size(text) <= _MAX_BYTES:
            return text
    raise ValueError(f"its header {name} is no short text")


def _text_or_nothing(headers: Mapping[str, object], name: str) -> str:
    value = headers.get(name)
    return one_line(value) if isinstance(value, str) else ""


def _time(headers: Mapping[str, object]) -> datetime:
    text = _short_text(headers, AT_HEADER)
    with suppress(ValueError, OverflowError):
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:  # else it would be taken for this machine's time
            return at.astimezone(UTC)
    raise ValueError(f"its header {AT_HEADER} is no time with a zone")


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))
