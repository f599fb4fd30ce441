"""The checker sees what it is there to see."""

import json
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from tests.faults import chat
from tests.faults.checker import Allowed, Label, Online, Sent, Verdict, check
from tests.faults.taken import Taken

COUNT = 60
POISON = b"\xff"
NOTHING_MORE = Allowed(duplicates=0)
RECEIVER = {
    sender: chat.AGENTS[(index + 1) % len(chat.AGENTS)] for index, sender in enumerate(chat.AGENTS)
}


def routed(number: int, publish_id: str | None = "", **changed: str | None) -> Taken:
    """Return a message as the broker would publish it, but for what is changed (raw JSON)."""
    fields: dict[str, str | None] = {
        **{name: value.decode() for name, value in chat.routed_fields(number).items()},
        "receiver_id": f'"{RECEIVER[chat.sender(number)]}"',
        **changed,
    }
    pairs = (f'"{name}":{value}' for name, value in fields.items() if value is not None)
    body = "{" + ",".join(pairs) + "}"
    return Taken(body.encode(), f"p-{number}" if publish_id == "" else publish_id)


def answered(number: int, reason: str) -> Taken:
    answer = {"message_type": "ERROR", "reason": reason, "original_message_id": f"c-{number}"}
    return Taken(json.dumps(answer).encode(), f"e-{number}")


def judged(
    output: Sequence[Taken],
    dead_letters: Sequence[Taken] = (),
    allowed: Allowed = NOTHING_MORE,
    sent: Sent | None = None,
) -> Verdict:
    return check(
        sent or Sent(attempted=COUNT, confirmed=set(range(COUNT))), output, dead_letters, allowed
    )


EVERYTHING = [routed(number) for number in range(COUNT)]


def test_everything_came_out_once() -> None:
    assert judged(EVERYTHING) == Verdict(lost=0, unexpected=0, duplicates=0, problems=[])


def test_a_lost_message() -> None:
    verdict = judged([*EVERYTHING[:7], *EVERYTHING[8:]])
    assert verdict == Verdict(lost=1, unexpected=0, duplicates=0, problems=["1 lost: c-7"])


def test_many_lost_messages_are_counted_and_some_named() -> None:
    verdict = judged([])
    assert verdict.lost == COUNT
    assert verdict.problems == ["60 lost: c-0, c-1, c-2, c-3, c-4, ..."]


def test_what_was_not_confirmed_may_come_out_or_not() -> None:
    sent = Sent(attempted=COUNT, confirmed=set(range(10)))
    assert judged(EVERYTHING, sent=sent).problems == []
    assert judged(EVERYTHING[:10], sent=sent).problems == []


def test_duplicates_up_to_the_limit() -> None:
    doubled = [*EVERYTHING, routed(3, "again"), routed(3, "and again"), routed(4, "again")]
    verdict = judged(doubled, allowed=Allowed(duplicates=3))
    assert verdict == Verdict(lost=0, unexpected=0, duplicates=3, problems=[])
    verdict = judged(doubled, allowed=Allowed(duplicates=2))
    assert verdict.problems == ["3 duplicates, more than 2"]


def test_what_only_the_collector_saw_twice_is_no_duplicate() -> None:
    assert judged([*EVERYTHING, routed(3)]).duplicates == 0


def test_a_duplicate_does_not_stand_in_for_a_lost_message() -> None:
    verdict = judged([*EVERYTHING[1:], routed(3, "again")], allowed=Allowed(duplicates=100))
    assert (verdict.lost, verdict.duplicates) == (1, 1)


UNEXPECTED = {
    "routed to its sender": routed(8, receiver_id=f'"{chat.sender(8)}"'),
    "routed to an unknown agent": routed(8, receiver_id='"agent-99"'),
    "routed to nobody": routed(8, receiver_id=None),
    "another text": routed(8, text_payload='"message 9"'),
    "another sender": routed(8, sender_id='"agent-01"'),
    "a field more": routed(8, extra="1"),
    "a field less": routed(8, send_timestamp=None),
    "another type": routed(8, message_type='"REPLY"'),
    "bookkeeping that stayed": routed(12, _client_id='"client-7"'),
    "a status that stayed": routed(12, routing_status='"pending"'),
    "a float with another spelling": routed(6, float="1.5"),
    "a big integer that was rounded": routed(6, big="1.2345678901234568e29"),
    "spaces that went from a nested value": routed(9, nested='{"a":[1,{"b":null},"\\u0000"]}'),
    "an escape that was resolved": routed(3, text_payload='"Grüße, 世界 🚀, é"'),
    "without an AMQP message id": routed(8, None),
    "never sent": routed(COUNT),
    "another id": Taken(b'{"message_type": "TEXT", "message_id": "m-8"}', "p"),
    "no id": Taken(b'{"message_type": "TEXT"}', "p"),
    "no JSON": Taken(b"{", "p"),
    "no UTF-8": Taken(b'{"message_type": "\xff", "message_id": "c-8"}', "p"),
    "an answer to nothing": Taken(b'{"message_type": "ERROR", "message_id": "e-1"}', "p"),
    "an answer that nobody can receive it": answered(8, "no_agent_online"),
}


@pytest.mark.parametrize("wrong", UNEXPECTED.values(), ids=UNEXPECTED)
def test_the_unexpected(wrong: Taken) -> None:
    verdict = judged([*EVERYTHING, wrong], allowed=Allowed(duplicates=100))
    assert verdict.unexpected >= 1
    assert len(verdict.problems) >= 1


def test_a_changed_message_is_not_lost() -> None:
    wrong = [routed(0, text_payload='"?"'), *EVERYTHING[1:]]
    assert judged(wrong) == Verdict(lost=0, unexpected=1, duplicates=0, problems=["1 changed: c-0"])


def test_a_sound_message_among_the_dead_letters() -> None:
    verdict = judged(EVERYTHING[1:], [Taken(chat.body(0), "p-0")])
    assert verdict == Verdict(lost=0, unexpected=1, duplicates=0, problems=["1 dead-lettered: c-0"])


def test_poison_belongs_among_the_dead_letters() -> None:
    def sent() -> Sent:
        return Sent(COUNT, set(range(COUNT)), {POISON, b"["}, {POISON})

    dead_letter = Taken(POISON, "p")
    assert judged(EVERYTHING, [dead_letter], sent=sent()).problems == []
    assert judged(EVERYTHING, [dead_letter, Taken(b"[", "q")], sent=sent()).problems == []
    assert judged(EVERYTHING, [], sent=sent()).problems == ["1 poison lost"]
    assert judged([*EVERYTHING, dead_letter], [], sent=sent()).unexpected == 1
    assert judged(EVERYTHING, [dead_letter, Taken(POISON, "again")], sent=sent()).duplicates == 1
    assert judged(EVERYTHING, [dead_letter, Taken(b"]", "q")], sent=sent()).unexpected == 1


LABEL = {
    "x-broker-reason": "invalid_utf8",
    "x-broker-error": "the body is not UTF-8",
    "x-original-queue": "input",
    "x-broker-id": "broker_1",
    "x-dead-lettered-at": "2026-01-01T00:00:00.000+00:00",
}
NOTHING: Mapping[str, object] = {}
OWN = frozenset({"content_type", "delivery_mode", "message_id", "timestamp", "app_id", "headers"})


def labelled(changed: Mapping[str, object] = NOTHING, properties: frozenset[str] = OWN) -> Verdict:
    """Return what is said of poison that was dead-lettered with other headers."""
    sent = Sent(0, set(), {POISON}, {POISON}, {POISON: Label("bytes", "invalid_utf8", "input")})
    return judged([], [Taken(POISON, "p", properties, {**LABEL, **changed})], sent=sent)


def test_poison_with_its_reason() -> None:
    assert labelled().problems == []
    assert labelled({"traceparent": "00-1-2-01"}, OWN | {"correlation_id"}).problems == []


UNSOUND = "without a sound label"


@pytest.mark.parametrize(
    ("header", "value", "problem"),
    [
        ("x-broker-reason", "invalid_json", "as invalid_json, which is wrong"),
        ("x-broker-reason", None, "as None, which is wrong"),
        ("x-original-queue", "output", "without the queue that it came from"),
        ("x-broker-error", "", UNSOUND),
        ("x-broker-error", "two\nlines", UNSOUND),
        ("x-broker-error", "ü" * 128, UNSOUND),
        ("x-broker-error", None, UNSOUND),
        ("x-broker-id", "", UNSOUND),
        ("x-dead-lettered-at", "yesterday", UNSOUND),
        ("x-dead-lettered-at", "2026-01-01T00:00:00", UNSOUND),
        ("x-dead-lettered-at", None, UNSOUND),
    ],
)
def test_poison_with_a_wrong_label(header: str, value: str | None, problem: str) -> None:
    assert labelled({header: value}).problems == [f"1 dead-lettered {problem}: bytes"]


def test_properties_that_must_not_be_copied() -> None:
    complaint = ["1 dead-lettered with AMQP properties that must not stay: bytes"]
    assert labelled({"CC": ["output"]}).problems == complaint
    assert labelled({"BCC": ["output"]}).problems == complaint
    assert labelled(properties=OWN | {"user_id"}).problems == complaint
    assert labelled(properties=OWN | {"expiration"}).problems == complaint
    assert labelled({"x-tenant": "acme"}, OWN | {"reply_to"}).problems == []


@pytest.mark.parametrize(
    ("properties", "headers", "is_right"),
    [
        (OWN | {"priority", "expiration"}, NOTHING, True),
        (OWN | {"user_id"}, NOTHING, False),
        (OWN, {"x-broker-reason": "forged"}, False),
    ],
)
def test_properties_of_a_routed_message(
    properties: frozenset[str], headers: Mapping[str, object], *, is_right: bool
) -> None:
    message = msgspec.structs.replace(routed(0), properties=properties, headers=headers)
    problems = judged([message], sent=Sent(attempted=1, confirmed={0})).problems
    assert problems == ([] if is_right else ["1 with AMQP properties of their sender: c-0"])


def test_order_where_it_is_promised() -> None:
    swapped = [EVERYTHING[1], EVERYTHING[0], *EVERYTHING[2:]]
    in_order = Allowed(duplicates=0, disorder=False)
    assert judged(EVERYTHING, allowed=in_order).problems == []
    assert judged(swapped, allowed=in_order).problems == ["1 after a later one: c-0"]
    assert judged(swapped).problems == []


def test_an_odd_message_must_be_routed_with_its_own_fields() -> None:
    sent = Sent(COUNT, set(range(COUNT)))
    sent.odd_fields[8] = {**chat.routed_fields(8), "odd": b"1e999"}
    odd = [*EVERYTHING[:8], routed(8, odd="1e999"), *EVERYTHING[9:]]
    assert judged(odd, sent=sent).problems == []
    assert judged(EVERYTHING, sent=sent).problems == ["1 changed: c-8"]


ONLY = chat.AGENTS[1]
NOBODY = frozenset[str]()


@pytest.mark.parametrize(
    ("those", "output", "is_right"),
    [
        (NOBODY, answered(0, "no_agent_online"), True),
        (NOBODY, answered(0, "only_sender_online"), False),
        (NOBODY, routed(0), False),
        ({ONLY}, answered(1, "only_sender_online"), True),
        ({ONLY}, answered(1, "no_agent_online"), False),
        ({ONLY}, answered(0, "no_agent_online"), False),
        ({ONLY}, routed(0), True),
        ({ONLY, chat.AGENTS[5]}, answered(1, "only_sender_online"), False),
        ({ONLY}, routed(2), False),
    ],
)
def test_who_is_online(those: set[str], output: Taken, is_right: bool) -> None:
    everybody, exactly = frozenset(chat.AGENTS), frozenset(those)
    online = [Online(0, exactly, exactly), Online(40, everybody, everybody)]
    others = [one for one in EVERYTHING[40:] if one.body != output.body]
    sent = Sent(attempted=COUNT, confirmed=set(range(40, COUNT)))
    verdict = judged([output, *others], allowed=Allowed(0, online=online), sent=sent)
    assert (not verdict.problems) == is_right


def test_registrations_are_answered_once_each() -> None:
    body = b'{"message_type": "REGISTER_AGENT_RESPONSE", "agent_id": "a"}'
    sent = Sent(registrations={"a": 2})
    assert judged([Taken(body, "1"), Taken(body, "2")], sent=sent).problems == []
    assert judged([Taken(body, "1")], sent=sent).lost == 1
    assert judged([Taken(body, str(number)) for number in range(3)], sent=sent).duplicates == 1


LARGE = b"\xff" * 10


def part(number: int, body: bytes, *, group: str = "g", count: int = 3, **label: str) -> Taken:
    headers = {
        **LABEL,
        "x-broker-part-group": group,
        "x-broker-part": str(number),
        "x-broker-parts": str(count),
        **{name.replace("_", "-"): value for name, value in label.items()},
    }
    return Taken(body, f"{group}-{number}", OWN, headers)


PARTS = [part(1, LARGE[:4]), part(2, LARGE[4:8]), part(3, LARGE[8:])]


def in_parts(*dead_letters: Taken, duplicates: int = 0) -> Verdict:
    labels = {LARGE: Label("large", "invalid_utf8", "input")}
    sent = Sent(0, set(), {LARGE}, {LARGE}, labels)
    return judged([], dead_letters, Allowed(duplicates), sent)


def test_a_dead_letter_in_parts_is_one() -> None:
    nothing_wrong = Verdict(lost=0, unexpected=0, duplicates=0, problems=[])
    assert in_parts(*PARTS) == nothing_wrong
    assert in_parts(PARTS[2], PARTS[0], PARTS[1]) == nothing_wrong
    # What only the collector saw twice.
    assert in_parts(*PARTS, PARTS[1]) == nothing_wrong


def test_properties_may_be_in_front_of_the_body() -> None:
    size = {"x_broker_parts_properties": "7"}
    alone = part(1, b"1234567" + LARGE, count=1, **size)
    assert in_parts(alone).problems == []
    divided = [part(1, b"12345", count=2, **size), part(2, b"67" + LARGE, count=2, **size)]
    assert in_parts(*divided).problems == []


def test_without_one_of_its_parts_it_is_lost() -> None:
    assert in_parts(*PARTS[:2]).lost == 1
    assert in_parts(PARTS[0], PARTS[2]).lost == 1
    again = [part(number, b"", group="h") for number in (1, 2)]
    assert in_parts(*again).lost == 1


def test_one_that_was_interrupted_is_a_duplicate() -> None:
    interrupted = [part(1, LARGE[:4], group="before")]
    verdict = in_parts(*interrupted, *PARTS, duplicates=1)
    assert verdict == Verdict(lost=0, unexpected=0, duplicates=1, problems=[])
    assert in_parts(*interrupted, *PARTS).problems == ["1 duplicates, more than 0"]


@pytest.mark.parametrize(
    "wrong",
    [
        part(2, b"else"),
        part(4, b""),
        part(0, b""),
        part(2, LARGE[4:8], count=4),
        part(2, LARGE[4:8], x_broker_reason="too_large"),
    ],
)
def test_parts_that_do_not_fit_together(wrong: Taken) -> None:
    verdict = in_parts(*PARTS, wrong)
    assert (verdict.lost, verdict.unexpected) == (1, 1)
    assert "1 dead-lettered in parts that do not fit together" in verdict.problems


def test_parts_that_make_up_something_else() -> None:
    verdict = in_parts(*PARTS[:2], part(3, b"else"))
    assert (verdict.lost, verdict.unexpected) == (1, 1)
