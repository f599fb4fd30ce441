"""All AMQP properties and headers of a message, decoded for people and programs that inspect it.

Nothing that can be read is left out: what Python or UTF-8 cannot represent stays a number or bytes.
"""

import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from broker.amqp.wire.field_table import (
    UnreadablePropertiesError,
    end_of_value,
    integer_of,
    split_table,
    uncounted,
)
from broker.amqp.wire.raw_properties import split_properties

_MAX_DEPTH = 20
"""Levels of arrays and tables that are decoded; what nests deeper stays bytes."""
_OCTETS = ("delivery_mode", "priority")
_unpack_timestamp = struct.Struct(">Q").unpack
_unpack_decimal = struct.Struct(">BI").unpack


class AllProperties(msgspec.Struct, frozen=True):
    """The AMQP properties of a message that is inspected.

    Attributes:
        headers: All of them, by name: text, numbers, times, lists, mappings, bytes, or None.
        properties: All others that are present, by their AMQP names: text, a number, a time, or
            bytes where a text is not UTF-8.
    """

    headers: Mapping[str, object] = {}
    properties: Mapping[str, object] = {}
    error: str | None = None


def decode_all_properties(data: bytes) -> AllProperties:
    """Decode the flags and properties of a content header. Never raises."""
    try:
        raw = split_properties(data)
        headers = _table(uncounted(raw.pop("headers", b"")), 0)
    except UnreadablePropertiesError as error:
        return AllProperties(error=f"the AMQP properties cannot be read: {error}")
    return AllProperties(headers, {name: _property(name, value) for name, value in raw.items()})


def _property(name: str, raw: bytes) -> object:
    if name in _OCTETS:
        return raw[0]
    return _timestamp(raw) if name == "timestamp" else _text(raw[1:])


def _table(table: bytes, depth: int) -> dict[str, object]:
    return {
        name.decode(errors="backslashreplace"): _value(value, depth)
        for name, value in split_table(table)
    }


def _array(array: bytes, depth: int) -> list[object]:
    values, position = list[bytes](), 0
    while position < len(array):
        start, position = position, end_of_value(array, position)
        values.append(array[start:position])
    if position != len(array):
        raise UnreadablePropertiesError("a value ends behind its array")
    return [_value(value, depth) for value in values]


def _value(value: bytes, depth: int) -> object:
    octet, data = value[:1], value[1:]
    integer = integer_of(value)
    if integer is not None:
        return integer
    if octet in _NESTED:
        with suppress(UnreadablePropertiesError):
            if depth < _MAX_DEPTH:
                return _NESTED[octet](uncounted(data), depth + 1)
        return data
    return _SIMPLE[octet](data)


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _timestamp(data: bytes) -> datetime | int:
    (seconds,) = _unpack_timestamp(data)
    with suppress(OverflowError, OSError, ValueError):
        return datetime.fromtimestamp(seconds, UTC)
    # Not seconds, whatever AMQP says; milliseconds and microseconds are beyond the year 9999.
    return int(seconds)


def _decimal(data: bytes) -> Decimal:
    scale, unscaled = _unpack_decimal(data)
    return Decimal(unscaled).scaleb(-scale)


_NESTED: Mapping[bytes, Callable[[bytes, int], object]] = {b"F": _table, b"A": _array}
_SIMPLE: Mapping[bytes, Callable[[bytes], object]] = {
    b"t": lambda data: data != b"\0",
    b"f": lambda data: struct.unpack(">f", data)[0],
    b"d": lambda data: struct.unpack(">d", data)[0],
    b"D": _decimal,
    b"T": _timestamp,
    b"S": lambda data: _text(uncounted(data)),
    b"x": uncounted,
    b"V": lambda _: None,
}
