"""Dead letters in parts: a body that RabbitMQ no longer takes whole stays in RabbitMQ all the same.

A queue may hold a body that is larger than what RabbitMQ takes now, as its limit was lowered, for
one by the upgrade to 4.0. Leaving such a message where it is, unacknowledged, would hold up all
acknowledgements behind it, count against a quorum queue's delivery limit at each restart, and end
with the consumer timeout. So it is dead-lettered like any other, as several messages.

Likewise properties and headers that leave no room for those of a dead letter: a content header is
never split, so they become the beginning of the body.
"""

import secrets
from collections.abc import Iterator

from msgspec.structs import replace

from broker.amqp.wire.publishing import Publishing

GROUP_HEADER = "x-broker-part-group"
NUMBER_HEADER = "x-broker-part"
COUNT_HEADER = "x-broker-parts"
PROPERTIES_SIZE_HEADER = "x-broker-parts-properties"
PART_HEADERS = (GROUP_HEADER, NUMBER_HEADER, COUNT_HEADER, PROPERTIES_SIZE_HEADER)
PART_HEADERS_SIZE = 128
"""Bytes of these headers, at most, in a content header."""
UNREADABLE_HEADER = "x-original-properties"
"""Flags and properties of an original whose properties cannot be read, as bytes."""


def in_parts(letter: Publishing, size: int, properties: bytes = b"") -> Iterator[Publishing]:
    """Yield the parts of a dead letter, in order. Their bodies make up its body.

    Args:
        size: Bytes of the largest body of a part.
        properties: The original's flags and properties, where the letter does not keep them.
    """
    group = secrets.token_hex(8)
    content = properties + letter.body
    count = max(1, -(-len(content) // size))
    for number in range(1, count + 1):
        headers = {
            **letter.headers,
            GROUP_HEADER: group,
            NUMBER_HEADER: str(number),
            COUNT_HEADER: str(count),
        }
        if properties:
            headers[PROPERTIES_SIZE_HEADER] = str(len(properties))
        body = content[(number - 1) * size : number * size]
        yield replace(letter, headers=headers, body=body)
