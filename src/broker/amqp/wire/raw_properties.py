"""A content header's flags and properties as bytes: taken apart, edited, put together.

Properties are found by their flags and lengths. Whatever is not edited stays byte for byte.
RabbitMQ ignores the two flags that name no property, and takes no further flags behind them; so
does this module.
"""

import struct
from collections.abc import Collection, Mapping, MutableMapping
from functools import lru_cache
from typing import Literal, get_args

from broker.amqp.wire.field_table import (
    UnreadablePropertiesError,
    counted,
    join_table,
    split_table,
    text_value,
    uncounted,
)

type Name = Literal[
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
]
"""In the order of the wire."""

_SHORT_STRING, _TABLE = -1, -4
_SIZES: Mapping[Name, int] = {
    **dict.fromkeys(get_args(Name.__value__), _SHORT_STRING),
    "headers": _TABLE,
    "delivery_mode": 1,
    "priority": 1,
    "timestamp": 8,
}
"""A size, or the negative size of the length in front; in the same order."""
_FLAGS: Mapping[Name, int] = {name: 1 << 15 - place for place, name in enumerate(_SIZES)}

NO_PROPERTIES = b"\0\0"
"""Flags that name no property."""

_unpack_flags = struct.Struct(">H").unpack_from
_pack_flags = struct.Struct(">H").pack
_unpack_size = struct.Struct(">I").unpack_from


def split_properties(data: bytes) -> dict[Name, bytes]:
    """Return the properties by their names, in the order of the wire.

    Returns:
        Each property as it stands: texts and headers behind their lengths.

    Raises:
        UnreadablePropertiesError: The data ends too early or too late.
    """
    properties: dict[Name, bytes] = {}
    try:
        (flags,) = _unpack_flags(data)
        start = 2
        for name, size in _layout(flags):
            if size == _SHORT_STRING:
                end = start + 1 + data[start]
            elif size == _TABLE:
                end = start + 4 + _unpack_size(data, start)[0]
            else:
                end = start + size
            properties[name] = data[start:end]
            start = end
    except (IndexError, struct.error):
        raise UnreadablePropertiesError("the properties end too early") from None
    if start != len(data):
        raise UnreadablePropertiesError("the properties end elsewhere than their lengths say")
    return properties


def join_properties(properties: Mapping[Name, bytes]) -> bytes:
    """Return flags and properties, given in any order, each as it stands on the wire."""
    names = [name for name in _SIZES if name in properties]
    flags = sum(_FLAGS[name] for name in names)
    return _pack_flags(flags) + b"".join(properties[name] for name in names)


def edit_headers(
    properties: MutableMapping[Name, bytes],
    *,
    drop: Collection[str] = (),
    add: Mapping[str, str] | Mapping[str, bytes] | None = None,
) -> None:
    """Change the headers among properties; entries that are not named stay byte for byte.

    Args:
        properties: As `split_properties` returns them; without headers after the last is dropped.
        drop: Names of headers; each entry of that name goes.
        add: Texts, or values as they stand behind the octet of their type; they replace headers of
            the same names.

    Raises:
        UnreadablePropertiesError: The structure of the headers cannot be read.
    """
    added = add or {}
    gone = {name.encode() for name in (*drop, *added)}
    entries = split_table(uncounted(properties.get("headers", b"")))
    kept = [entry for entry in entries if entry[0] not in gone]
    kept += [
        (name.encode(), text_value(value) if isinstance(value, str) else value)
        for name, value in added.items()
    ]
    if kept:
        properties["headers"] = counted(join_table(kept))
    else:
        properties.pop("headers", None)


def short_string(text: str | bytes) -> bytes:
    """Return a text of at most 255 bytes behind its length, as most properties are."""
    data = text.encode() if isinstance(text, str) else text
    return bytes([len(data)]) + data


@lru_cache(maxsize=1024)
def _layout(flags: int) -> tuple[tuple[Name, int], ...]:
    return tuple((name, size) for name, size in _SIZES.items() if flags & _FLAGS[name])
