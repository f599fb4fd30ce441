"""Dead letters in parts, put together again; see `broker.amqp.parts`."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from broker.amqp.admin.all_properties import decode_all_properties
from broker.amqp.admin.getter import Got
from broker.amqp.parts import (
    COUNT_HEADER,
    GROUP_HEADER,
    NUMBER_HEADER,
    PART_HEADERS,
    PROPERTIES_SIZE_HEADER,
    UNREADABLE_HEADER,
)
from broker.amqp.wire.field_table import bytes_value
from broker.amqp.wire.raw_properties import edit_headers, join_properties, split_properties

_MOST_DIGITS = 9


class Part(msgspec.Struct, frozen=True):
    """What the headers of a part say.

    Attributes:
        properties_size: Bytes in front of the body that are the original's flags and properties.
    """

    group: str
    number: int
    count: int
    properties_size: int


def read_part(headers: Mapping[str, object]) -> Part | None:
    """Return what the headers of a message say, or None when it is no part."""
    group = headers.get(GROUP_HEADER)
    if not (isinstance(group, str) and group):
        return None
    number, count = _positive(headers.get(NUMBER_HEADER)), _positive(headers.get(COUNT_HEADER))
    if not 0 < number <= count:
        return None
    return Part(group, number, count, _positive(headers.get(PROPERTIES_SIZE_HEADER)))


def joined(parts: Sequence[Got], properties_size: int = 0) -> Got:
    """Return the dead letter that parts make up."""
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
