"""Dead letters in parts: a body that RabbitMQ no longer takes whole stays in RabbitMQ all the same.

A queue may hold a body that is larger than what RabbitMQ takes now, as its limit was lowered, for
one by the upgrade to 4.0. Leaving such a message where it is, unacknowledged, would hold up all
acknowledgements behind it, count against a quorum queue's delivery limit at each restart, and end
with the consumer timeout. So it is dead-lettered like any other, as several messages.
"""

import secrets
from collections.abc import Iterator, Mapping

import msgspec

from broker.amqp.delivery import Publishing

_GROUP = "x-broker-part-group"
_NUMBER = "x-broker-part"
_COUNT = "x-broker-parts"
_MOST_DIGITS = 9


class Part(msgspec.Struct, frozen=True):
    """What the headers of a part say.

    Attributes:
        group: Names the dead letter that it is a part of.
        number: Its place, from 1.
        count: How many parts there are.
    """

    group: str
    number: int
    count: int


def in_parts(letter: Publishing, size: int) -> Iterator[Publishing]:
    """Yield the parts of a dead letter, in order. Their bodies make up its body.

    Args:
        letter: The dead letter. Each part has all of its headers.
        size: Bytes of the largest body of a part.
    """
    group = secrets.token_hex(8)
    count = max(1, -(-len(letter.body) // size))
    for number in range(1, count + 1):
        headers = {
            **letter.headers,
            _GROUP: group,
            _NUMBER: str(number),
            _COUNT: str(count),
        }
        body = letter.body[(number - 1) * size : number * size]
        yield msgspec.structs.replace(letter, headers=headers, body=body)


def read_part(headers: Mapping[str, object]) -> Part | None:
    """Return what the headers of a message say, or None when it is no part."""
    group, number, count = (headers.get(name) for name in (_GROUP, _NUMBER, _COUNT))
    if not (isinstance(group, str) and group):
        return None
    place, places = _positive(number), _positive(count)
    return Part(group, place, places) if 0 < place <= places else None


def without_part(headers: Mapping[str, object]) -> Mapping[str, object]:
    """Return the headers of a part as the whole would have them."""
    return {name: value for name, value in headers.items() if name not in (_GROUP, _NUMBER, _COUNT)}


def _positive(value: object) -> int:
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and value.isdecimal():
        return int(value)
    return 0
