"""The AMQP properties of a message that arrived: what of them the broker uses."""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec
from pamqp.commands import Basic
from pamqp.header import ContentHeader

FORWARDED_HEADERS = ("traceparent", "tracestate")
"""Headers that pass from a delivery to what comes of it.

Nothing else does: a copied `user_id` would be refused, and `CC` or `BCC` would let an agent write
to any queue.
"""

REPLAYS_HEADER = "x-broker-replays"
"""How often a message came out of the dead-letter queue. It passes from a delivery to its dead
letter, and to nothing else."""

MAX_REPLAYS = 999_999

_MAX_HEADER_LENGTH = 1024
"""W3C asks for 512 characters of `tracestate`. All properties must fit into one frame."""
_NUMBER = re.compile("[0-9]+")
_CACHED_SIZE = 64
_NO_HEADERS: Mapping[str, str] = {}
_UNPARSABLE = "the AMQP properties cannot be parsed"


class Properties(msgspec.Struct, frozen=True):
    """The AMQP properties that matter.

    Attributes:
        headers: Those of `FORWARDED_HEADERS` that are present.
        correlation_id: The property, if present.
        message_id: The property, if present.
        error: Why the properties could not be parsed, if so.
        replays: What `REPLAYS_HEADER` says.
    """

    headers: Mapping[str, str] = _NO_HEADERS
    correlation_id: str | None = None
    message_id: str | None = None
    error: str | None = None
    replays: int = 0


class AllProperties(msgspec.Struct, frozen=True):
    """The AMQP properties of a message that is looked at.

    Attributes:
        headers: All of them, as pamqp decodes them: values of any kind, nested as they came.
        correlation_id: The property, if present.
        error: Why the properties could not be parsed, if so.
    """

    headers: Mapping[str, object] = {}
    correlation_id: str | None = None
    error: str | None = None


NO_PROPERTIES = Properties()


def decode_properties(data: bytes) -> Properties:
    """Decode the flags and properties of a content header. Never raises.

    Args:
        data: The payload of the frame without class id, weight and body size.
    """
    # Senders that set nothing but constants send the same few bytes with each message.
    return _decode_cached(data) if len(data) <= _CACHED_SIZE else _decode(data)


def decode_all_properties(data: bytes) -> AllProperties:
    """Decode the same with all headers. Never raises."""
    properties = _unmarshal(data)
    if properties is None:
        return AllProperties(error=_UNPARSABLE)
    return AllProperties(properties.headers or {}, properties.correlation_id)


def _decode(data: bytes) -> Properties:
    properties = _unmarshal(data)
    if properties is None:
        return Properties(error=_UNPARSABLE)
    headers = properties.headers
    return Properties(
        forwarded_headers(headers) if headers else _NO_HEADERS,
        properties.correlation_id,
        properties.message_id,
        replays=count_replays(headers) if headers else 0,
    )


_decode_cached = lru_cache(maxsize=1024)(_decode)


def _unmarshal(data: bytes) -> Basic.Properties | None:
    header = ContentHeader()
    try:
        header.unmarshal(bytes(12) + data)
    except Exception:  # noqa: BLE001 - among others RecursionError, OverflowError
        return None
    return header.properties


def count_replays(headers: Mapping[str, object]) -> int:
    """Return what `REPLAYS_HEADER` says: 0 when it is missing or no such number."""
    match headers.get(REPLAYS_HEADER):
        case str(text) if len(text) <= len(str(MAX_REPLAYS)) and _NUMBER.fullmatch(text):
            return int(text)
    return 0


def forwarded_headers(headers: Mapping[str, object]) -> Mapping[str, str]:
    """Return those of `FORWARDED_HEADERS` that are present and short texts."""
    return {
        name: value
        for name in FORWARDED_HEADERS
        if isinstance(value := headers.get(name), str) and len(value) <= _MAX_HEADER_LENGTH
    }
