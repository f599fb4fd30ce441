"""The AMQP properties of a message that arrived: what of them the broker uses."""

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from pamqp.header import ContentHeader

FORWARDED_HEADERS = ("traceparent", "tracestate")
"""Headers that pass from a delivery to what comes of it.

Nothing else does: a copied `user_id` would be refused, and `CC` or `BCC` would let an agent write
to any queue.
"""

_MAX_HEADER_LENGTH = 1024
"""W3C asks for 512 characters of `tracestate`. All properties must fit into one frame."""
_CACHED_SIZE = 64
_NO_HEADERS: Mapping[str, str] = {}


class Properties(msgspec.Struct, frozen=True):
    """The AMQP properties that matter.

    Attributes:
        headers: Those of `FORWARDED_HEADERS` that are present.
        correlation_id: The property, if present.
        message_id: The property, if present.
        error: Why the properties could not be parsed, if so.
    """

    headers: Mapping[str, str] = _NO_HEADERS
    correlation_id: str | None = None
    message_id: str | None = None
    error: str | None = None


NO_PROPERTIES = Properties()


def decode_properties(data: bytes) -> Properties:
    """Decode the flags and properties of a content header. Never raises.

    Args:
        data: The payload of the frame without class id, weight and body size.
    """
    # Senders that set nothing but constants send the same few bytes with each message.
    return _decode_cached(data) if len(data) <= _CACHED_SIZE else _decode(data)


def _decode(data: bytes) -> Properties:
    header = ContentHeader()
    try:
        header.unmarshal(bytes(12) + data)
    except Exception:  # noqa: BLE001 - among others RecursionError, OverflowError
        return Properties(error="the AMQP properties cannot be parsed")
    properties = header.properties
    return Properties(
        _forwarded(properties.headers), properties.correlation_id, properties.message_id
    )


_decode_cached = lru_cache(maxsize=1024)(_decode)


def _forwarded(headers: Mapping[str, object] | None) -> Mapping[str, str]:
    if not headers:
        return _NO_HEADERS
    return {
        name: value
        for name in FORWARDED_HEADERS
        if isinstance(value := headers.get(name), str) and len(value) <= _MAX_HEADER_LENGTH
    }
