"""Dead letters: a delivery that cannot be processed as it came, with the reason.

As with RabbitMQ's own dead-lettering, all properties and headers stay with the message, except
`user_id`, which RabbitMQ refuses, `CC` and `BCC`, which would send copies to other queues, and
`expiration`, by which the letter would vanish.
"""

import secrets
import struct
from collections.abc import Mapping
from datetime import UTC, datetime

from broker.amqp.delivery import Delivery
from broker.amqp.parts import PART_HEADERS, UNREADABLE_HEADER
from broker.amqp.wire.field_table import (
    UnreadablePropertiesError,
    bytes_value,
    text_value,
)
from broker.amqp.wire.properties import REPLAYS_HEADER
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.raw_properties import (
    Name,
    edit_headers,
    join_properties,
    short_string,
    split_properties,
)

REASON_HEADER = "x-broker-reason"
ERROR_HEADER = "x-broker-error"
QUEUE_HEADER = "x-original-queue"
BROKER_ID_HEADER = "x-broker-id"
AT_HEADER = "x-dead-lettered-at"
ADDED_HEADER = "x-added-properties"
"""Names of the properties that the original lacked; a replay removes them."""
_EXPIRATION = "x-original-expiration"
_SAYS = (REASON_HEADER, ERROR_HEADER, QUEUE_HEADER, BROKER_ID_HEADER, AT_HEADER)
OWN_HEADERS = (*_SAYS, ADDED_HEADER, UNREADABLE_HEADER, *PART_HEADERS)
COPY_HEADERS = ("CC", "BCC")
_JSON = short_string("application/json")
_pack_timestamp = struct.Struct(">Q").pack
_MAX_ERROR_BYTES = 255


def dead_letter(
    delivery: Delivery, *, queue: str, reason: str, error: str, broker_id: str
) -> Publishing:
    """Return the publishing that dead-letters a delivery.

    Its properties and headers are kept with its body. Their frame may be larger than RabbitMQ
    takes, by what is added; see `header_frame_size`.

    Args:
        error: One line for a person; cut at 255 bytes.
    """
    at = datetime.now(UTC)
    return Publishing(
        queue=queue,
        body=delivery.body,
        app_id=broker_id,
        correlation_id=delivery.correlation_id,
        headers={
            **delivery.headers,
            **replays_header(delivery.replays),
            REASON_HEADER: reason,
            ERROR_HEADER: one_line(error),
            QUEUE_HEADER: delivery.source,
            BROKER_ID_HEADER: broker_id,
            AT_HEADER: at.isoformat(timespec="milliseconds"),
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
        edit_headers(properties, drop=(*OWN_HEADERS, *COPY_HEADERS))
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
        "message_id": short_string(secrets.token_hex(16)),
    }
    missing = [name for name in own if name not in properties]
    if missing:
        added_headers[ADDED_HEADER] = text_value(",".join(missing))
    edit_headers(properties, add=added_headers)
    return join_properties({**own, **properties})


def replays_header(count: int) -> Mapping[str, str]:
    """Return the header that says how often a message was replayed; nothing when it never was."""
    return {REPLAYS_HEADER: str(count)} if count else {}


def one_line(text: str) -> str:
    """Return a text in one line of at most 255 bytes."""
    line = " ".join(text.split())
    # A lone surrogate has no UTF-8. A cut inside of a character leaves bytes that `ignore` drops.
    return line.encode(errors="replace")[:_MAX_ERROR_BYTES].decode(errors="ignore")
