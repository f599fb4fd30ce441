"""The judgement: what went in, what came out, and whether that is what was promised. No I/O."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

from chaos import chat

_NAMED = 5
"""How many messages a problem names."""


class Sent(msgspec.Struct):
    """What went into the input queue.

    Attributes:
        attempted: How many chat messages RabbitMQ was given, numbered from 0.
        confirmed: The numbers of those that it confirmed.
        poison_attempted: Bodies that no broker can accept, each sent once.
        poison_confirmed: Those of them that RabbitMQ confirmed.
    """

    attempted: int = 0
    confirmed: set[int] = msgspec.field(default_factory=set)
    poison_attempted: set[bytes] = msgspec.field(default_factory=set)
    poison_confirmed: set[bytes] = msgspec.field(default_factory=set)


class Taken(msgspec.Struct, frozen=True):
    """A message that was taken out of a queue.

    Attributes:
        body: The body.
        publish_id: The AMQP message id, which the broker makes anew for each publish.
    """

    body: bytes
    publish_id: str | None


class Allowed(msgspec.Struct, frozen=True):
    """What a scenario may lead to, besides each message coming out once.

    Attributes:
        duplicates: How many messages may come out more than they should, in total.
        failures: Whether the broker may answer that nobody can receive a message.
    """

    duplicates: int
    failures: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What the checker found.

    Attributes:
        lost: How many confirmed messages came out nowhere.
        unexpected: How many came out that should not have, or not like that.
        duplicates: How many were published again.
        problems: What is wrong, one line each; empty when everything is as promised.
    """

    lost: int
    unexpected: int
    duplicates: int
    problems: list[str]


class _Out(msgspec.Struct):
    """What is read of a message from the output queue."""

    message_type: str
    message_id: str
    sender_id: str | None = None
    receiver_id: str | None = None
    original_message_id: str | None = None


_decode = msgspec.json.Decoder(_Out).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def check(
    sent: Sent, output: Iterable[Taken], dead_letters: Iterable[Taken], allowed: Allowed
) -> Verdict:
    """Compare what came out with what went in.

    Args:
        sent: What went in.
        output: All of the output queue.
        dead_letters: All of the dead-letter queue.
        allowed: What the scenario may lead to.
    """
    books = _Books(sent, allowed)
    for taken in output:
        books.enter_output(taken)
    for taken in dead_letters:
        books.enter_dead_letter(taken)
    return books.verdict()


class _Books:
    def __init__(self, sent: Sent, allowed: Allowed) -> None:
        self._sent = sent
        self._allowed = allowed
        self._online = frozenset(chat.AGENTS)
        self._publishes: defaultdict[int | bytes, set[str]] = defaultdict(set)
        self._unexpected: defaultdict[str, list[str]] = defaultdict(list)

    def enter_output(self, taken: Taken) -> None:
        try:
            out = _decode(taken.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._complain("not a message", "?")
            return
        if out.message_type == "ERROR":
            self._enter_failure(taken, out)
            return
        number = self._enter(taken, out.message_id)
        if number is None:
            return
        if out.receiver_id == chat.sender(number):
            self._complain("routed to its sender", out.message_id)
        elif out.receiver_id not in self._online:
            self._complain("routed to an unknown agent", out.message_id)
        fields = {name: bytes(value) for name, value in _decode_fields(taken.body).items()}
        fields.pop("receiver_id", None)
        if fields != chat.routed_fields(number):
            self._complain("changed", out.message_id)

    def enter_dead_letter(self, taken: Taken) -> None:
        if taken.body in self._sent.poison_attempted:
            self._publishes[taken.body].add(self._publish_id(taken, "poison"))
            return
        try:
            name = _decode(taken.body).message_id
        except (msgspec.DecodeError, UnicodeDecodeError):
            name = "?"
        self._complain("dead-lettered", name)
        number = chat.number_of(name)
        if number is not None:
            # It is in the wrong place, but it is not lost.
            self._publishes[number].add(self._publish_id(taken, name))

    def verdict(self) -> Verdict:
        lost = sorted(self._sent.confirmed - self._publishes.keys())
        lost_poison = self._sent.poison_confirmed - self._publishes.keys()
        # A repetition has another AMQP message id; one that only the collector saw twice has not.
        duplicates = sum(len(publishes) - 1 for publishes in self._publishes.values())
        problems = [_line("lost", [chat.message_id(number) for number in lost])] if lost else []
        if lost_poison:
            problems.append(f"{len(lost_poison)} poison lost")
        problems += [_line(what, names) for what, names in self._unexpected.items()]
        if duplicates > self._allowed.duplicates:
            problems.append(f"{duplicates} duplicates, more than {self._allowed.duplicates}")
        return Verdict(
            lost=len(lost) + len(lost_poison),
            unexpected=sum(map(len, self._unexpected.values())),
            duplicates=duplicates,
            problems=problems,
        )

    def _enter_failure(self, taken: Taken, out: _Out) -> None:
        name = out.original_message_id or "?"
        self._enter(taken, name)
        if not self._allowed.failures:
            self._complain("answered that nobody can receive it", name)

    def _enter(self, taken: Taken, name: str) -> int | None:
        number = chat.number_of(name)
        if number is None or number >= self._sent.attempted:
            self._complain("never sent", name)
            return None
        self._publishes[number].add(self._publish_id(taken, name))
        return number

    def _publish_id(self, taken: Taken, name: str) -> str:
        if taken.publish_id is None:
            self._complain("without an AMQP message id", name)
        return taken.publish_id or ""

    def _complain(self, what: str, name: str) -> None:
        self._unexpected[what].append(name)


def _line(what: str, names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {what}: {', '.join(islice(names, _NAMED))}{more}"
