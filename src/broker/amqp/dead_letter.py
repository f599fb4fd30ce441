"""Dead letters: a delivery that cannot be processed as it came, with the reason, and back again.

As with RabbitMQ's own dead-lettering, all properties and headers stay with the message, except
`user_id`, which RabbitMQ refuses, `CC` and `BCC`, which would send copies to other queues, and
`expiration`, by which the letter would vanish.
"""

import struct
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from broker.amqp.delivery import Delivery, Got, Publishing
from broker.amqp.parts import PART_HEADERS, UNREADABLE_HEADER
from broker.amqp.wire.field_table import (
    UnreadablePropertiesError,
    bytes_value,
    text_value,
)
from broker.amqp.wire.properties import (
    DELIVERY_COUNT_HEADER,
    MAX_REPLAYS,
    REPLAYS_HEADER,
    count_replays,
)
from broker.amqp.wire.raw_properties import (
    Name,
    edit_headers,
    join_properties,
    short_string,
    split_properties,
)

_REASON = "x-broker-reason"
_ERROR = "x-broker-error"
_QUEUE = "x-original-queue"
_BROKER_ID = "x-broker-id"
_AT = "x-dead-lettered-at"
_ADDED = "x-added-properties"
"""Names of the properties that the original lacked; a replay removes them."""
_EXPIRATION = "x-original-expiration"
_SAYS = (_REASON, _ERROR, _QUEUE, _BROKER_ID, _AT)
_OWN_HEADERS = (*_SAYS, _ADDED, UNREADABLE_HEADER, *PART_HEADERS)
_RABBITMQS_HEADERS = (
    "x-death",
    *(
        f"x-{which}-death-{what}"
        for which in ("first", "last")
        for what in ("exchange", "queue", "reason")
    ),
)
_COPIES = ("CC", "BCC")
_JSON = short_string("application/json")
_pack_timestamp = struct.Struct(">Q").pack
_MAX_BYTES = 255
"""Of a reason or a queue's name: AMQP itself allows no longer names."""
_MAX_ERROR_BYTES = 255


def dead_letter(
    delivery: Delivery, *, queue: str, reason: str, error: str, broker_id: str
) -> Publishing:
    """Return the publishing that dead-letters a delivery.

    Its properties and headers are kept with its body. Their frame may be larger than RabbitMQ
    takes, by what is added; see `header_frame_size`.

    Args:
        delivery: The delivery; its body is kept byte for byte.
        queue: The dead-letter queue.
        reason: A stable code.
        error: One line for a person; cut at 255 bytes.
        broker_id: Who could not process it.
    """
    at = datetime.now(UTC)
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
            _QUEUE: delivery.source,
            _BROKER_ID: broker_id,
            _AT: at.isoformat(timespec="milliseconds"),
        },
        kept=_kept(delivery.raw_properties, broker_id, at),
    )


def bare(letter: Publishing) -> Publishing:
    """Return a dead letter that says why it is one, and keeps nothing of the original but its body.

    Its content header fits into the smallest frame that AMQP allows.
    """
    said = {
        name: letter.headers[name] for name in (*_SAYS, REPLAYS_HEADER) if name in letter.headers
    }
    return Publishing(letter.queue, letter.body, letter.app_id, said)


def _kept(raw: bytes, broker_id: str, at: datetime) -> bytes:
    added_headers: dict[str, bytes] = {}
    properties: dict[Name, bytes]
    try:
        properties = split_properties(raw)
        edit_headers(properties, drop=(*_OWN_HEADERS, *_COPIES))
    except UnreadablePropertiesError:
        properties = {}
        added_headers[UNREADABLE_HEADER] = bytes_value(raw)
    properties.pop("user_id", None)
    expiration = properties.pop("expiration", None)
    if expiration is not None:
        added_headers[_EXPIRATION] = text_value(expiration[1:])
    own: Mapping[Name, bytes] = {
        "content_type": _JSON,
        "timestamp": _pack_timestamp(int(at.timestamp())),
        "app_id": short_string(broker_id),
    }
    # The publisher adds a message id, when there is none.
    missing = [name for name in (*own, "message_id") if name not in properties]
    if missing:
        added_headers[_ADDED] = text_value(",".join(missing))
    edit_headers(properties, add=added_headers)
    return join_properties({**own, **properties})


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
        replays=count_replays(headers.get(REPLAYS_HEADER)),
    )


def replayed(message: Got, parked: Parked, *, app_id: str) -> Publishing:
    """Return the publishing that brings a dead letter back to its queue, one replay older.

    It has the properties and headers of the original, but never `user_id`, `CC` or `BCC`. Its
    `expiration` stays in a header: it would begin anew, and end in nobody's hands what an operator
    wants to be processed.

    Args:
        message: The dead letter, with properties that can be read; its body is kept byte for byte.
        parked: What its headers say.
        app_id: Who publishes; set when the original did not say who sent it.
    """
    properties = split_properties(message.raw_properties)
    added = message.headers.get(_ADDED)
    names = ("user_id", "expiration", *(added.split(",") if isinstance(added, str) else ()))
    kept = {name: value for name, value in properties.items() if name not in names}
    # RabbitMQ added its own to its own letters, as a broker does to its.
    own = _OWN_HEADERS if _REASON in message.headers else _RABBITMQS_HEADERS
    edit_headers(kept, drop=(*own, *_COPIES, DELIVERY_COUNT_HEADER))
    kept.setdefault("app_id", short_string(app_id))
    return Publishing(
        queue=parked.queue,
        body=message.body,
        app_id=app_id,
        headers=_replays(min(parked.replays + 1, MAX_REPLAYS)),
        kept=join_properties(kept),
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
