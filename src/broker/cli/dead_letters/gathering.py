"""Dead letters in parts, put together again."""

from collections.abc import Iterator

from msgspec.structs import replace

from broker.amqp.admin import Got, Part, joined, read_part
from broker.cli.dead_letters.letter import Letter, read_letter


class Gathering:
    """Takes messages in the order of the queue, and gives letters."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, tuple[int, Got]]] = {}

    def add(self, number: int, message: Got) -> Letter | None:
        """Take a message, and return the letter that is complete with it."""
        part = read_part(message.headers)
        if part is None:
            return read_letter(number, message)
        group = self._parts.setdefault(part.group, {})
        if part.number in group:
            # Not by a broker, which names each group anew. It must not hide the other one.
            return read_letter(number, message)
        group[part.number] = number, message
        if len(group) < part.count:
            return None
        return _joined(self._parts.pop(part.group), part)

    def incomplete(self) -> Iterator[Letter]:
        """Yield letters of which parts are missing, as when a broker was killed meanwhile.

        It has dead-lettered the message again, in parts of a new group.
        """
        for group in self._parts.values():
            part = read_part(next(iter(group.values()))[1].headers)
            if part is not None:
                yield _joined(group, part)
        self._parts.clear()


def _joined(group: dict[int, tuple[int, Got]], part: Part) -> Letter:
    messages = [group[number][1] for number in sorted(group)]
    is_complete = len(group) == part.count
    whole = joined(messages, part.properties_size if is_complete else 0)
    letter = read_letter(max(number for number, _ in group.values()), whole)
    if not is_complete:
        problem = f"only {len(group)} of its {part.count} parts are in the queue"
        letter = replace(letter, problem=problem, is_complete=False)
    return replace(letter, messages=messages)
