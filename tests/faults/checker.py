"""The judgement: what went in, what came out, and whether that is what was promised. No I/O."""

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

import msgspec

from broker.core.lone_surrogates import mark_lone_surrogates
from tests.faults import chat
from tests.faults.parts import joined
from tests.faults.taken import Taken

_NAMED = 5
"""How many messages a problem names."""
_OWN_PROPERTIES = frozenset({"content_type", "delivery_mode", "message_id", "timestamp", "app_id"})
"""The AMQP properties that the broker sets."""
_PASSED_PROPERTIES = frozenset({"correlation_id", "priority", "expiration", "headers"})
_PASSED_HEADERS = frozenset({"traceparent", "tracestate"})
_NEVER_DEAD_LETTERED = frozenset({"user_id", "expiration", "CC", "BCC"})
"""Properties and headers that a dead letter must not have; it keeps all others."""
_MAX_ERROR_BYTES = 255


class Label(msgspec.Struct, frozen=True):
    """How poison must be dead-lettered."""

    name: str
    reason: str
    queue: str


class Sent(msgspec.Struct):
    """What went into the input queue.

    Attributes:
        attempted: How many chat messages RabbitMQ was given, numbered from 0.
        poison_attempted: Bodies that no broker can accept, each sent once.
        odd_fields: What chat messages that are not like `chat.body` must be routed with, as raw
            JSON by field, by number.
    """

    attempted: int = 0
    confirmed: set[int] = msgspec.field(default_factory=set)
    poison_attempted: set[bytes] = msgspec.field(default_factory=set)
    poison_confirmed: set[bytes] = msgspec.field(default_factory=set)
    labels: dict[bytes, Label] = msgspec.field(default_factory=dict)
    registrations: dict[str, int] = msgspec.field(default_factory=dict)
    odd_fields: dict[int, Mapping[str, bytes]] = msgspec.field(default_factory=dict)


class Online(msgspec.Struct, frozen=True):
    """Who is online when some messages are decided.

    Attributes:
        certainly: Who is online at each moment, whatever is under way.
    """

    first: int
    possibly: frozenset[str]
    certainly: frozenset[str]


_EVERYBODY = (Online(0, frozenset(chat.AGENTS), frozenset(chat.AGENTS)),)


class Allowed(msgspec.Struct, frozen=True):
    """What a scenario may lead to, besides each message coming out once.

    Attributes:
        duplicates: How many messages may come out more than they should, in total.
        online: Who is online, by the numbers of messages, from 0 on.
        disorder: Whether messages may come out in another order than they went in: those that
            came again, or that RabbitMQ refused at first.
    """

    duplicates: int
    online: Sequence[Online] = _EVERYBODY
    disorder: bool = True


class Verdict(msgspec.Struct, frozen=True):
    """What the checker found.

    Attributes:
        unexpected: How many came out that should not have, or not like that.
    """

    lost: int
    unexpected: int
    duplicates: int
    problems: list[str]


class _Out(msgspec.Struct):
    message_type: str
    message_id: str = "?"
    reason: str | None = None
    sender_id: str | None = None
    receiver_id: str | None = None
    original_message_id: str | None = None


class _Registered(msgspec.Struct):
    agent_id: str


_decode = msgspec.json.Decoder(_Out).decode
_decode_registered = msgspec.json.Decoder(_Registered).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def check(
    sent: Sent, output: Iterable[Taken], dead_letters: Iterable[Taken], allowed: Allowed
) -> Verdict:
    books = _Books(sent, allowed)
    for taken in output:
        books.enter_output(taken)
    letters = joined(dead_letters)
    for taken in letters.whole:
        books.enter_dead_letter(taken)
    return books.verdict(incomplete=letters.incomplete, unsound=letters.unsound)


class _Books:
    def __init__(self, sent: Sent, allowed: Allowed) -> None:
        self._sent = sent
        self._allowed = allowed
        self._firsts = [online.first for online in allowed.online]
        self._registered: Counter[str] = Counter()
        self._publishes: defaultdict[int | bytes, set[str]] = defaultdict(set)
        self._unexpected: defaultdict[str, list[str]] = defaultdict(list)
        self._last_number = -1

    def enter_output(self, taken: Taken) -> None:
        body = mark_lone_surrogates(taken.body)
        try:
            out = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._complain("not a message", "?")
            return
        if out.message_type == "ERROR":
            self._enter_failure(taken, out)
            return
        if out.message_type == "REGISTER_AGENT_RESPONSE":
            self._registered[_decode_registered(taken.body).agent_id] += 1
            return
        number = self._enter(taken, out.message_id)
        if number is None:
            return
        if not self._allowed.disorder and number < self._last_number:
            self._complain("after a later one", out.message_id)
        self._last_number = number
        if _is_foreign(taken):
            self._complain("with AMQP properties of their sender", out.message_id)
        if out.receiver_id == chat.sender(number):
            self._complain("routed to its sender", out.message_id)
        elif out.receiver_id not in self._online(number).possibly:
            self._complain("routed to an agent that was not online", out.message_id)
        fields = {name: bytes(value) for name, value in _decode_fields(body).items()}
        fields.pop("receiver_id", None)
        expected = self._sent.odd_fields.get(number, chat.routed_fields(number))
        if fields != {name: mark_lone_surrogates(value) for name, value in expected.items()}:
            self._complain("changed", out.message_id)

    def enter_dead_letter(self, taken: Taken) -> None:
        if taken.body in self._sent.poison_attempted:
            self._publishes[taken.body].add(self._publish_id(taken, "poison"))
            self._check_label(taken)
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

    def _check_label(self, taken: Taken) -> None:
        label = self._sent.labels.get(taken.body)
        if label is None:
            return
        headers = taken.headers
        reason = headers.get("x-broker-reason")
        if reason != label.reason:
            self._complain(f"dead-lettered as {reason}, which is wrong", label.name)
        if headers.get("x-original-queue") != label.queue:
            self._complain("dead-lettered without the queue that it came from", label.name)
        if not _is_labelled(headers):
            self._complain("dead-lettered without a sound label", label.name)
        if _NEVER_DEAD_LETTERED & (taken.properties | taken.headers.keys()):
            self._complain("dead-lettered with AMQP properties that must not stay", label.name)

    def verdict(self, *, incomplete: int, unsound: int) -> Verdict:
        lost = sorted(self._sent.confirmed - self._publishes.keys())
        lost_poison = self._sent.poison_confirmed - self._publishes.keys()
        # A repetition has another AMQP message id; one that only the collector saw twice has not.
        duplicates = sum(len(publishes) - 1 for publishes in self._publishes.values())
        problems = [_line("lost", [chat.message_id(number) for number in lost])] if lost else []
        if lost_poison:
            problems.append(f"{len(lost_poison)} poison lost")
        unanswered = Counter(self._sent.registrations) - self._registered
        if unanswered:
            problems.append(f"{unanswered.total()} registrations were not answered")
        again = self._registered - Counter(self._sent.registrations)
        # Whoever is cut off between two parts dead-letters all of it again.
        duplicates += again.total() + incomplete
        if unsound:
            problems.append(f"{unsound} dead-lettered in parts that do not fit together")
        problems += [_line(what, names) for what, names in self._unexpected.items()]
        if duplicates > self._allowed.duplicates:
            problems.append(f"{duplicates} duplicates, more than {self._allowed.duplicates}")
        return Verdict(
            lost=len(lost) + len(lost_poison) + unanswered.total(),
            unexpected=sum(map(len, self._unexpected.values())) + unsound,
            duplicates=duplicates,
            problems=problems,
        )

    def _enter_failure(self, taken: Taken, out: _Out) -> None:
        name = out.original_message_id or "?"
        number = self._enter(taken, name)
        if number is not None and not _is_right(
            out.reason, chat.sender(number), self._online(number)
        ):
            self._complain(f"answered that nobody can receive it: {out.reason}", name)

    def _online(self, number: int) -> Online:
        return self._allowed.online[bisect(self._firsts, number) - 1]

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


def _is_right(reason: str | None, sender: str, online: Online) -> bool:
    """Return whether that may be why nobody could receive a message."""
    match reason:
        case "no_agent_online":
            return not online.certainly
        case "only_sender_online":
            return sender in online.possibly and online.certainly <= {sender}
        case _:
            return False


def _is_foreign(taken: Taken) -> bool:
    """Return whether something came through that the broker must not copy."""
    foreign = taken.properties - _OWN_PROPERTIES - _PASSED_PROPERTIES
    return bool(foreign or taken.headers.keys() - _PASSED_HEADERS)


def _is_labelled(headers: Mapping[str, object]) -> bool:
    """Return whether the headers say by whom, when and why a message was dead-lettered."""
    error, at = headers.get("x-broker-error"), headers.get("x-dead-lettered-at")
    if not isinstance(error, str) or not isinstance(at, str):
        return False
    try:
        is_dated = datetime.fromisoformat(at).tzinfo is not None
    except ValueError:
        return False
    is_one_line = error.isprintable() and 0 < len(error.encode()) <= _MAX_ERROR_BYTES
    return is_dated and is_one_line and bool(headers.get("x-broker-id"))


def _line(what: str, names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f"{len(names)} {what}: {', '.join(islice(names, _NAMED))}{more}"
