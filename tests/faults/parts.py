"""Dead letters in parts, put together again. No I/O, and none of the broker's code."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tests.faults.taken import Taken

_GROUP, _NUMBER, _COUNT = "x-broker-part-group", "x-broker-part", "x-broker-parts"
_PROPERTIES_SIZE = "x-broker-parts-properties"
"""Bytes in front of the body that are properties: no frame has room for them."""
_PART_PREFIX = "x-broker-part"
_LABEL = ("x-broker-reason", "x-original-queue", "x-broker-id", "x-dead-lettered-at")


class Joined(NamedTuple):
    """What became of the dead letters.

    Attributes:
        whole: Those that are whole, by themselves or put together.
        incomplete: How many lack a part: a crash between two of them leaves such a one, and what
            it was made from is dead-lettered once more.
        unsound: How many have parts that contradict each other.
    """

    whole: Sequence[Taken]
    incomplete: int
    unsound: int


def joined(dead_letters: Iterable[Taken]) -> Joined:
    whole: list[Taken] = []
    groups: defaultdict[str, list[Taken]] = defaultdict(list)
    for taken in dead_letters:
        group = taken.headers.get(_GROUP)
        if group is None:
            whole.append(taken)
        else:
            groups[str(group)].append(taken)
    incomplete = unsound = 0
    for parts in groups.values():
        bodies = {_integer(part.headers, _NUMBER): part.body for part in parts}
        counts = {_integer(part.headers, _COUNT) for part in parts}
        count = max(counts)
        if len(counts) > 1 or not bodies.keys() <= set(range(1, count + 1)) or _differ(parts):
            unsound += 1
        elif len(bodies) < count:
            incomplete += 1
        else:
            content = b"".join(bodies[number] for number in range(1, count + 1))
            body = content[_integer(parts[0].headers, _PROPERTIES_SIZE) :]
            headers = _without_part(parts[0].headers)
            whole.append(msgspec.structs.replace(parts[0], body=body, headers=headers))
    return Joined(whole, incomplete, unsound)


def _differ(parts: Sequence[Taken]) -> bool:
    """Return whether parts with one number differ, or the reasons of any."""
    numbered = {(_integer(part.headers, _NUMBER), part.body) for part in parts}
    labels = {tuple(str(part.headers.get(name)) for name in _LABEL) for part in parts}
    return len(numbered) > len({number for number, _ in numbered}) or len(labels) > 1


def _without_part(headers: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in headers.items() if not name.startswith(_PART_PREFIX)}


def _integer(headers: Mapping[str, object], name: str) -> int:
    """Return a number that is written as one or as text; 0 when it is none."""
    value = str(headers.get(name))
    return int(value) if value.isdecimal() else 0
