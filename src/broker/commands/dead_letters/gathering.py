"""Dead letters in parts, put together again."""

from collections.abc import Iterator

from msgspec.structs import replace

from broker.amqp import Got, read_part, without_part
from broker.commands.dead_letters.letter import Letter, read_letter


class Gathering:
    """Takes messages in the order of the queue, and gives letters."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, tuple[int, Got]]] = {}

    def add(self, number: int, message: Got) -> Letter | None:
        """Take a message.

        Args:
            number: Its position.
            message: The message; anybody may have put it there.

        Returns:
            The letter that is complete with it, or None.
        """
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
        return _joined(self._parts.pop(part.group), part.count)

    def incomplete(self) -> Iterator[Letter]:
        """Yield letters of which parts are missing, as when a broker was killed meanwhile.

        It has dead-lettered the message again, in parts of a new group.
        """
        for group in self._parts.values():
            first = read_part(next(iter(group.values()))[1].headers)
            yield _joined(group, first.count if first is not None else 0)
        self._parts.clear()


def _joined(group: dict[int, tuple[int, Got]], count: int) -> Letter:
    messages = [group[number][1] for number in sorted(group)]
    whole = replace(
        messages[0],
        headers=without_part(messages[0].headers),
        body=b"".join(message.body for message in messages),
    )
    letter = read_letter(max(number for number, _ in group.values()), whole)
    if len(group) < count:
        problem = f"only {len(group)} of its {count} parts are in the queue"
        letter = replace(letter, problem=problem, is_complete=False)
    return replace(letter, messages=messages)
