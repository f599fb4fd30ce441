"""Dead letters in parts: a body that RabbitMQ no longer takes whole stays in RabbitMQ all the same.

A queue may hold a body that is larger than what RabbitMQ takes now, as its limit was lowered, for
one by the upgrade to 4.0. Leaving such a message where it is, unacknowledged, would hold up all
acknowledgements behind it, count against a quorum queue's delivery limit at each restart, and end
with the consumer timeout. So it is dead-lettered like any other, as several messages.

Likewise properties and headers that leave no room for those of a dead letter: a content header is
never split, so they become the beginning of the body.
"""

import secrets
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from broker.amqp.delivery import Got, Publishing
from broker.amqp.wire.all_properties import decode_all_properties
from broker.amqp.wire.field_table import bytes_value
from broker.amqp.wire.raw_properties import edit_headers, join_properties, split_properties

_GROUP = "x-broker-part-group"
_NUMBER = "x-broker-part"
_COUNT = "x-broker-parts"
_PROPERTIES_SIZE = "x-broker-parts-properties"
PART_HEADERS = (_GROUP, _NUMBER, _COUNT, _PROPERTIES_SIZE)
PART_HEADERS_SIZE = 128
"""Bytes of these headers, at most, in a content header."""
UNREADABLE_HEADER = "x-original-properties"
"""Flags and properties of an original whose properties cannot be read, as bytes."""
_MOST_DIGITS = 9


class Part(msgspec.Struct, frozen=True):
    """What the headers of a part say.

    Attributes:
        group: Names the dead letter that it is a part of.
        number: Its place, from 1.
        count: How many parts there are.
        properties_size: Bytes in front of the body that are the original's flags and properties.
    """

    group: str
    number: int
    count: int
    properties_size: int


def in_parts(letter: Publishing, size: int, properties: bytes = b"") -> Iterator[Publishing]:
    """Yield the parts of a dead letter, in order. Their bodies make up its body.

    Args:
        letter: The dead letter. Each part has all of its headers.
        size: Bytes of the largest body of a part.
        properties: The original's flags and properties, where the letter does not keep them.
    """
    group = secrets.token_hex(8)
    content = properties + letter.body
    count = max(1, -(-len(content) // size))
    for number in range(1, count + 1):
        headers = {
            **letter.headers,
            _GROUP: group,
            _NUMBER: str(number),
            _COUNT: str(count),
        }
        if properties:
            headers[_PROPERTIES_SIZE] = str(len(properties))
        body = content[(number - 1) * size : number * size]
        yield replace(letter, headers=headers, body=body)


def read_part(headers: Mapping[str, object]) -> Part | None:
    """Return what the headers of a message say, or None when it is no part."""
    group = headers.get(_GROUP)
    if not (isinstance(group, str) and group):
        return None
    number, count = _positive(headers.get(_NUMBER)), _positive(headers.get(_COUNT))
    if not 0 < number <= count:
        return None
    return Part(group, number, count, _positive(headers.get(_PROPERTIES_SIZE)))


def joined(parts: Sequence[Got], properties_size: int = 0) -> Got:
    """Return the dead letter that parts make up.

    Args:
        parts: In their order.
        properties_size: Bytes in front of the body that are the original's flags and properties.
    """
    first = parts[0]
    content = b"".join(part.body for part in parts)
    own = {name: value for name, value in first.headers.items() if name not in PART_HEADERS}
    properties = split_properties(first.raw_properties)
    edit_headers(properties, drop=PART_HEADERS)
    whole = replace(first, headers=own, raw_properties=join_properties(properties), body=content)
    if not properties_size:
        return whole
    raw, body = content[:properties_size], content[properties_size:]
    original = decode_all_properties(raw)
    if original.error is not None:
        edit_headers(properties, add={UNREADABLE_HEADER: bytes_value(raw)})
        return replace(
            whole,
            headers={**own, UNREADABLE_HEADER: raw},
            raw_properties=join_properties(properties),
            body=body,
        )
    texts = {name: value for name, value in own.items() if isinstance(value, str)}
    properties = split_properties(raw)
    edit_headers(properties, add=texts)
    return replace(
        whole,
        headers={**original.headers, **texts},
        properties=original.properties,
        raw_properties=join_properties(properties),
        body=body,
    )


def _positive(value: object) -> int:
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and value.isdecimal():
        return int(value)
    return 0
