"""AMQP 0-9-1 field tables as bytes: entries are found by their lengths, values stay undecoded.

What a value means is the business of its sender and its readers. A timestamp in microseconds, a
text that is no UTF-8, or ten thousand nested tables are all skipped by their size.
"""

import struct
from collections.abc import Iterable

type Entry = tuple[bytes, bytes]
"""A name, and a value behind the octet of its type."""

_FIXED_SIZES = {
    **dict.fromkeys(b"V", 0),  # void
    **dict.fromkeys(b"tbB", 1),  # boolean, signed and unsigned octet
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"D", 5),  # decimal: a scale and an unsigned integer
    **dict.fromkeys(b"lLdT", 8),
}
_COUNTED = frozenset(b"SxAF")
"""Text, bytes, array and table: their size in bytes stands in front."""
_INTEGERS = {"b": ">b", "B": ">B", "s": ">h", "u": ">H", "I": ">i", "i": ">I", "l": ">q", "L": ">q"}
_integers = {ord(octet): struct.Struct(form) for octet, form in _INTEGERS.items()}
"""RabbitMQ takes `L` for signed, as its clients do (see its AMQP 0-9-1 errata)."""

_SIZE_BYTES = 4
_TEXT = ord("S")
_unpack_size = struct.Struct(">I").unpack_from
_pack_size = struct.Struct(">I").pack


class UnreadablePropertiesError(ValueError):
    """Flags, properties or a field table whose structure cannot be read."""


def split_table(table: bytes) -> list[Entry]:
    """Return the entries of a field table, in their order; names may occur more than once.

    Args:
        table: The table behind its length.

    Raises:
        UnreadablePropertiesError: An entry ends behind the table, or its type is unknown.
    """
    entries: list[Entry] = []
    position, end = 0, len(table)
    while position < end:
        value = position + 1 + table[position]
        name = table[position + 1 : value]
        position = end_of_value(table, value)
        entries.append((name, table[value:position]))
    if position != end:
        raise UnreadablePropertiesError("a header ends behind the headers")
    return entries


def end_of_value(data: bytes, start: int) -> int:
    """Return where a value ends; possibly behind the data.

    Raises:
        UnreadablePropertiesError: The type is unknown, or the data ends in front of the value.
    """
    try:
        octet = data[start]
        if octet in _COUNTED:
            (size,) = _unpack_size(data, start + 1)
            return start + 1 + _SIZE_BYTES + int(size)
        return start + 1 + _FIXED_SIZES[octet]
    except (IndexError, KeyError, struct.error):
        raise UnreadablePropertiesError("a header of unknown type, or without an end") from None


def join_table(entries: Iterable[Entry]) -> bytes:
    """Return a field table of entries, without its length."""
    return b"".join(b"%c%b%b" % (len(name), name, value) for name, value in entries)


def counted(data: bytes) -> bytes:
    """Return data behind its length in four octets, as long texts, arrays and tables have it."""
    return _pack_size(len(data)) + data


def uncounted(data: bytes) -> bytes:
    """Return what stands behind a length in four octets."""
    return data[_SIZE_BYTES:]


def text_value(text: str | bytes) -> bytes:
    """Return a value of a field table that is a text, in UTF-8."""
    return b"S" + counted(text.encode() if isinstance(text, str) else text)


def bytes_value(data: bytes) -> bytes:
    """Return a value of a field table that is bytes."""
    return b"x" + counted(data)


def text_of(value: bytes) -> str | None:
    """Return the text that a value is; None when it is none, or not in UTF-8."""
    if value[0] != _TEXT:
        return None
    try:
        return value[1 + _SIZE_BYTES :].decode()
    except UnicodeDecodeError:
        return None


def integer_of(value: bytes) -> int | None:
    """Return the integer that a value is, of any size; None when it is none."""
    form = _integers.get(value[0])
    return None if form is None else int(form.unpack_from(value, 1)[0])
