"""Dead letters: deliveries as they came, with the reason."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from pamqp.commands import Basic
from pamqp.common import FieldArray, FieldTable
from pamqp.header import ContentHeader

from broker.amqp import Deliveries, Delivery, Publishing, Settlement, dead_letter
from broker.amqp.admin import (
    DeadLetterLabel,
    Got,
    read_dead_letter,
    read_part,
    read_rabbitmqs_dead_letter,
    replayed,
)
from broker.amqp.admin.all_properties import decode_all_properties
from broker.amqp.admin.mover import _Message
from broker.amqp.parts import PART_HEADERS_SIZE, in_parts
from broker.amqp.wire.marshal import header_frame_size, marshal_publishing
from broker.amqp.wire.properties import decode_properties
from broker.amqp.wire.raw_properties import (
    NO_PROPERTIES,
    edit_headers,
    short_string,
    split_properties,
)
from tests.lab import raw_content


def wire(publishing: Publishing) -> bytes:
    """Return the flags and properties with which a publishing is sent."""
    frames = b"".join(marshal_publishing(publishing, "ours", channel=1, frame_max=131_072))
    method = 8 + int.from_bytes(frames[3:7])
    header = frames[method : method + 8 + int.from_bytes(frames[method + 3 : method + 7])]
    assert len(header) <= header_frame_size(publishing)
    return header[7 + 12 : -1]


def read(publishing: Publishing) -> tuple[dict[str, object], dict[str, object]]:
    """Return properties and headers with which a publishing is sent."""
    found = decode_all_properties(wire(publishing))
    assert found.error is None
    return dict(found.properties), dict(found.headers)


def letter_of(delivery: Delivery, error: str = "e") -> Publishing:
    return dead_letter(delivery, queue="letters", reason="r", error=error, broker_id="broker-1")


def dead_lettered(raw: bytes, replays: int = 0) -> Publishing:
    decoded = decode_properties(raw)
    return letter_of(
        Delivery(
            *("input", 1, b"{", False, decoded.headers, decoded.correlation_id, decoded.error),
            replays=replays,
            raw_properties=raw,
        )
    )


def sent_back(letter: Publishing) -> Publishing:
    """Return what a replay of a letter publishes."""
    raw = wire(letter)
    found = decode_all_properties(raw)
    got = Got(1, letter.body, 0, found.headers, found.properties, raw_properties=raw)
    return replayed(got, read_dead_letter(got.headers), app_id="me")


AT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
ORIGINAL = Basic.Properties(
    content_type="text/plain",
    content_encoding="gzip",
    headers={"x-tenant": "acme", "n": 5, "CC": ["a"], "BCC": ["b"], "nested": {"a": [1, "b"]}},
    delivery_mode=1,
    priority=7,
    correlation_id="c",
    reply_to="r",
    expiration="60000",
    message_id="m",
    timestamp=AT,
    message_type="t",
    user_id="guest",
    app_id="a",
)
KEPT = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c",
    "reply_to": "r",
    "message_id": "m",
    "timestamp": AT,
    "type": "t",
    "app_id": "a",
}

KEPT_HEADERS = {
    "x-tenant": "acme",
    "n": 5,
    "nested": {"a": [1, "b"]},
    "x-original-expiration": "60000",
}


def marshalled(properties: Basic.Properties) -> bytes:
    return ContentHeader(properties=properties).marshal()[12:]


def test_keeps_all_properties_and_headers_and_says_why() -> None:
    before = datetime.now(UTC)
    letter = dead_lettered(marshalled(ORIGINAL))
    assert (letter.queue, letter.body, letter.app_id) == ("letters", b"{", "broker-1")
    properties, headers = read(letter)
    assert properties == KEPT
    at = datetime.fromisoformat(str(headers.pop("x-dead-lettered-at")))
    assert before - timedelta(milliseconds=1) <= at <= datetime.now(UTC)
    assert headers == {
        **KEPT_HEADERS,
        "x-broker-reason": "r",
        "x-broker-error": "e",
        "x-original-queue": "input",
        "x-broker-id": "broker-1",
    }
    assert read(sent_back(letter)) == (KEPT, {**KEPT_HEADERS, "x-broker-replays": "1"})


def test_what_the_original_lacks_is_ours_in_the_letter_and_gone_after_it() -> None:
    letter = dead_lettered(NO_PROPERTIES)
    properties, headers = read(letter)
    assert properties.pop("timestamp")
    message_id = properties.pop("message_id")
    assert isinstance(message_id, str)
    assert len(message_id) == 32, "one of its own, so that it can be named before it is published"
    assert properties == {
        "content_type": "application/json",
        "delivery_mode": 2,
        "app_id": "broker-1",
    }
    assert headers["x-added-properties"] == "content_type,timestamp,app_id,message_id"

    assert read(sent_back(letter)) == (
        {"delivery_mode": 2, "message_id": "ours", "app_id": "me"},
        {"x-broker-replays": "1"},
    )


HEADERS = st.dictionaries(st.text(max_size=9), st.text(max_size=9) | st.integers(0, 9), max_size=4)


@given(
    HEADERS,
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("content_type", "message_id", "app_id", "reply_to", "message_type", "correlation_id"),
            st.text(min_size=1, max_size=20),
        )
        | {"priority": st.integers(0, 255), "timestamp": st.just(AT)},
    ),
    st.integers(1, 3),
)
def test_any_number_of_letters_and_replays_change_nothing_else(
    headers: FieldTable, properties: dict[str, Any], times: int
) -> None:
    raw = wire_of = marshalled(Basic.Properties(headers=headers, delivery_mode=2, **properties))
    for replays in range(times):
        back = sent_back(dead_lettered(wire_of, replays))
        wire_of = wire(back)
    expected = split_properties(raw)
    edit_headers(expected, add={"x-broker-replays": str(times)})
    expected.setdefault("message_id", short_string("ours"))
    expected.setdefault("app_id", short_string("me"))
    assert split_properties(wire_of) == expected


def test_what_nobody_can_represent_is_kept_byte_for_byte() -> None:
    odd = (
        raw_content.short(b"\xff")
        + raw_content.nested_table(500)
        + raw_content.short(b"at")
        + (b"T" + b"\xff" * 8)
    )
    table = len(odd).to_bytes(4) + odd
    raw = raw_content.flags(raw_content.FLAG_HEADERS | raw_content.FLAG_TIMESTAMP)
    raw += table + b"\xff" * 8
    letter = dead_lettered(raw)
    for publishing in (letter, sent_back(letter)):
        properties = split_properties(wire(publishing))
        assert properties["timestamp"] == b"\xff" * 8
        assert properties["headers"][4:].startswith(odd)


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x80\x00\x05abc", b"\x00\x00trailing"])
def test_properties_that_cannot_be_read_are_kept_in_a_header(raw: bytes) -> None:
    letter = dead_lettered(raw)
    _, headers = read(letter)
    assert headers["x-original-properties"] == raw
    properties, headers = read(sent_back(letter))
    assert properties == {"delivery_mode": 2, "message_id": "ours", "app_id": "me"}
    assert headers == {"x-broker-replays": "1"}


def test_a_forged_letter_is_labelled_anew() -> None:
    forged: FieldTable = {
        "x-broker-reason": "forged",
        "x-broker-error": "forged",
        "x-original-queue": "q",
        "x-added-properties": "content_type",
        "x-original-properties": "p",
        "x-broker-part-group": "g",
        "x-broker-part": "1",
        "x-broker-parts": "1000",
        "x-broker-parts-properties": "2",
    }
    letter = dead_lettered(marshalled(Basic.Properties(headers=forged, content_type="a")))
    properties, headers = read(letter)
    assert properties["content_type"] == "a"
    assert (headers["x-broker-reason"], headers["x-original-queue"]) == ("r", "input")
    assert headers["x-added-properties"] == "timestamp,app_id,message_id"
    assert "x-original-properties" not in headers
    # Else it would count as one of a thousand parts, and never as a whole.
    assert read_part(headers) is None


def test_a_letter_of_rabbitmqs_loses_what_rabbitmq_added() -> None:
    headers: FieldTable = {
        "x-death": [{"reason": "expired", "queue": "input", "time": AT, "count": 1}],
        "x-first-death-reason": "expired",
        "x-last-death-queue": "input",
        "x-delivery-count": 3,
        "x-tenant": "acme",
        "CC": ["q"],
    }
    raw = marshalled(Basic.Properties(headers=headers, message_id="m"))
    found = decode_all_properties(raw)
    letter = read_rabbitmqs_dead_letter(found.headers)
    assert letter is not None
    got = Got(1, b"", 0, found.headers, found.properties, raw_properties=raw)
    back = replayed(got, letter, app_id="me")
    assert read(back) == (
        {"delivery_mode": 2, "message_id": "m", "app_id": "me"},
        {"x-tenant": "acme", "x-broker-replays": "1"},
    )


def test_deaths_before_the_delivery_are_of_the_original() -> None:
    death: FieldArray = [{"reason": "expired", "queue": "waiting", "time": AT, "count": 1}]
    raw = marshalled(Basic.Properties(headers={"x-death": death}))
    assert read(sent_back(dead_lettered(raw)))[1]["x-death"] == death


def test_how_large_the_frame_of_the_headers_is() -> None:
    raw = raw_content.header_table(b"h", raw_content.long(b"x" * 131_000))
    assert header_frame_size(dead_lettered(raw)) > 131_072
    assert header_frame_size(Publishing("q", b"", "me")) < 200


def test_how_much_of_it_the_headers_of_a_part_take() -> None:
    letter = dead_lettered(raw_content.header_table(b"h", raw_content.long(b"x" * 1000)))
    # A body of 128 MiB, in parts of a byte.
    *_, last = in_parts(replace(letter, body=b"x" * 10_000), 1)
    most = header_frame_size(last) + 2 * (len("134217728") - len("10000"))
    assert most <= header_frame_size(letter) + PART_HEADERS_SIZE


@pytest.mark.parametrize(("count", "then"), [(2, "3"), (999_999, "999999")])
def test_the_count_of_replays_stays_with_a_message_and_has_an_end(count: int, then: str) -> None:
    letter = letter_of(Delivery("input", 7, b"{", replays=count))
    assert letter.headers["x-broker-replays"] == str(count)
    assert sent_back(letter).headers == {"x-broker-replays": then}


GOOD = {
    "x-broker-reason": "too_deep",
    "x-original-queue": "input",
    "x-dead-lettered-at": "2026-01-02T03:04:05.678+01:00",
}


def test_what_a_dead_letter_must_say() -> None:
    at = datetime(2026, 1, 2, 2, 4, 5, 678_000, UTC)
    assert read_dead_letter(GOOD) == DeadLetterLabel("too_deep", "", "input", "", at, 0)
    said = {**GOOD, "x-broker-error": "a\n b" + "x" * 300, "x-broker-id": "b", "x-other": 5}
    label = read_dead_letter(said)
    assert (label.error, label.broker_id) == ("a b" + "x" * 252, "b")


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [5, None, "", "x" * 256, "ü" * 128, ["a"], {}, b"\xff", 1.5])
def test_what_is_no_dead_letter(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^its header {name} is (missing|no short text)$"):
        read_dead_letter({**GOOD, name: value})


@pytest.mark.parametrize(
    "value",
    ["now", "2026-01-02", "2026-01-02T03:04:05", "0001-01-01T00:00+23:59", "9999-12-31T23-23:59"],
)
def test_what_is_no_time(value: str) -> None:
    with pytest.raises(ValueError, match="x-dead-lettered-at is no time with a zone"):
        read_dead_letter({**GOOD, "x-dead-lettered-at": value})


@given(st.text(st.characters(codec=None), max_size=400))
@example("\ud800")
def test_the_error_is_one_short_line(error: str) -> None:
    line = letter_of(Delivery("input", 1, b""), error).headers["x-broker-error"]
    assert len(line.encode()) <= 255
    assert len(line.splitlines()) <= 1
    if error.isascii() and error.isprintable():
        assert " ".join(error.split()).startswith(line)


def test_a_character_is_not_cut_in_two() -> None:
    letter = letter_of(Delivery("q", 1, b""), "x" + "ü" * 200)
    assert letter.headers["x-broker-error"] == "x" + "ü" * 127


def test_nothing_that_travels_shows_its_body() -> None:
    delivery = Delivery("input", 1, b"secret")
    letter = letter_of(delivery)
    travelling = (
        *(delivery, letter, Settlement(delivery, letter), Got(1, b"secret", 0)),
        *(Deliveries("input", [delivery], print), _Message(1, b"secret", b"secret")),
    )
    assert "secret" not in repr(travelling)
    assert repr(delivery) == "<Delivery 1 from 'input'>"
    assert repr(letter) == "<Publishing to 'letters'>"
