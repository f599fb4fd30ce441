"""The AMQP properties of a message that arrived: what of them the broker uses.

Nothing else is judged: a message is as good with a timestamp in microseconds or a header of a
thousand nested tables as without. A property that is used and makes no sense counts as absent.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from broker.amqp.wire.field_table import (
    UnreadablePropertiesError,
    integer_of,
    split_table,
    text_of,
    uncounted,
)
from broker.amqp.wire.held import HELD_HEADERS, Held, held_of
from broker.amqp.wire.raw_properties import NO_PROPERTIES, split_properties

FORWARDED_HEADERS = ("traceparent", "tracestate")
"""Headers that pass from a delivery to what comes of it.

Nothing else does: a copied `user_id` would be refused, and `CC` or `BCC` would let an agent write
to any queue.
"""

REPLAYS_HEADER = "x-broker-replays"
"""How often a message came out of the dead-letter queue. It passes from a delivery to its dead
letter, and to nothing else."""

DELIVERY_COUNT_HEADER = "x-delivery-count"
"""How often a quorum queue had the message returned; set by RabbitMQ, not by senders."""

MAX_REPLAYS = 999_999

_MAX_HEADER_BYTES = 1024
"""W3C asks for 512 characters of `tracestate`. All properties must fit into one frame, which may be
as small as 4,096 bytes."""
_MAX_EXPIRATION = 315_360_000_000
"""Milliseconds: ten years are the most that RabbitMQ takes; what is no such number it refuses."""
_NUMBER = re.compile("[0-9]+")
_EXPIRATION = re.compile(rb"\+?[0-9]{1,20}")
_CACHED_SIZE = 64
_NO_HEADERS: Mapping[str, str] = {}
_HELD = {name.encode(): name for name in HELD_HEADERS}
_FORWARDED = {name.encode(): name for name in FORWARDED_HEADERS}
_REPLAYS, _DELIVERY_COUNT = REPLAYS_HEADER.encode(), DELIVERY_COUNT_HEADER.encode()


class Properties(msgspec.Struct, frozen=True):
    """The AMQP properties that matter.

    Attributes:
        expiration: The property in milliseconds, if present and such that RabbitMQ takes it.
    """

    headers: Mapping[str, str] = _NO_HEADERS
    correlation_id: str | None = None
    message_id: str | None = None
    error: str | None = None
    replays: int = 0
    priority: int | None = None
    expiration: str | None = None
    delivery_count: int = 0
    raw: bytes = NO_PROPERTIES
    held: Held | None = None


def decode_properties(data: bytes) -> Properties:
    """Decode the flags and properties of a content header. Never raises.

    Args:
        data: The payload of the frame without class id, weight and body size.
    """
    # Senders that set nothing but constants send the same few bytes with each message.
    return _decode_cached(data) if len(data) <= _CACHED_SIZE else _decode(data)


def _decode(data: bytes) -> Properties:
    headers = _NO_HEADERS
    held: dict[str, str | None] = {}
    replays = delivery_count = 0
    try:
        properties = split_properties(data)
        table = properties.get("headers")
        if table is not None:
            headers = {}
            for name, value in split_table(uncounted(table)):
                if name in _FORWARDED:
                    _take_forwarded(headers, _FORWARDED[name], text_of(value))
                elif name == _REPLAYS:
                    replays = count_replays(text_of(value))
                elif name == _DELIVERY_COUNT:
                    delivery_count = max(0, integer_of(value) or 0)
                elif name in _HELD:
                    held[_HELD[name]] = text_of(value)
    except UnreadablePropertiesError as error:
        return Properties(error=f"the AMQP properties cannot be read: {error}", raw=data)
    priority, expiration = properties.get("priority"), properties.get("expiration")
    return Properties(
        headers,
        _text(properties.get("correlation_id")),
        _text(properties.get("message_id")),
        None,
        replays,
        None if priority is None else priority[0],
        None if expiration is None else _expiration(expiration[1:]),
        delivery_count,
        data,
        held_of(held) if held else None,
    )


_decode_cached = lru_cache(maxsize=1024)(_decode)


def _take_forwarded(headers: dict[str, str], name: str, text: str | None) -> None:
    if text is not None and len(text.encode()) <= _MAX_HEADER_BYTES:
        headers[name] = text
    else:
        headers.pop(name, None)


def _text(short_string: bytes | None) -> str | None:
    if short_string is None:
        return None
    try:
        return short_string[1:].decode()
    except UnicodeDecodeError:
        return None


def _expiration(text: bytes) -> str | None:
    # RabbitMQ closes the channel of a publisher that sets any other.
    if _EXPIRATION.fullmatch(text) and int(text) <= _MAX_EXPIRATION:
        return text.decode()
    return None


def count_replays(said: object) -> int:
    """Return the number that `REPLAYS_HEADER` says: 0 when it is missing or no such number."""
    match said:
        case str(text) if len(text) <= len(str(MAX_REPLAYS)) and _NUMBER.fullmatch(text):
            return int(text)
    return 0
