"""Parked deliveries: as they came, with the reason."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.amqp import (
    Deliveries,
    Delivery,
    Got,
    Parked,
    Publishing,
    Settlement,
    dead_letter,
    read_dead_letter,
    replayed,
)


def test_keeps_the_body_and_says_why() -> None:
    body = b"\xff\x00 not JSON"
    delivery = Delivery(
        "input", 7, body, headers={"traceparent": "00-1-2-01"}, correlation_id="correlation"
    )
    before = datetime.now(UTC).replace(microsecond=0)
    parked = dead_letter(
        delivery, queue="parked", reason="invalid_json", error="no\n JSON", broker_id="broker_1"
    )

    assert (parked.queue, parked.body, parked.app_id) == ("parked", body, "broker_1")
    assert parked.correlation_id == "correlation"
    headers = dict(parked.headers)
    at = datetime.fromisoformat(headers.pop("x-dead-lettered-at"))
    assert before <= at <= datetime.now(UTC)
    assert headers == {
        "traceparent": "00-1-2-01",
        "x-broker-reason": "invalid_json",
        "x-broker-error": "no JSON",
        "x-original-queue": "input",
        "x-broker-id": "broker_1",
    }


def test_the_count_of_replays_stays_with_a_message() -> None:
    body, trace = b"{", {"traceparent": "00-1-2-01"}
    delivery = Delivery("input", 7, body, headers=trace, correlation_id="c", replays=2)
    parked = dead_letter(delivery, queue="parked", reason="r", error="e", broker_id="b")
    assert parked.headers["x-broker-replays"] == "2"

    message = Got(1, body, 0, {**parked.headers, "CC": ["elsewhere"]}, "c")
    back = replayed(message, read_dead_letter(message.headers), app_id="me")
    assert back == Publishing("input", body, "me", {**trace, "x-broker-replays": "3"}, "c")


def test_the_count_of_replays_has_an_end() -> None:
    delivery = Delivery("input", 7, b"", replays=999_999)
    parked = dead_letter(delivery, queue="parked", reason="r", error="e", broker_id="b")
    back = replayed(Got(1, b"", 0, parked.headers), read_dead_letter(parked.headers), app_id="me")
    assert back.headers == {"x-broker-replays": "999999"}


GOOD = {
    "x-broker-reason": "too_deep",
    "x-original-queue": "input",
    "x-dead-lettered-at": "2026-01-02T03:04:05.678+01:00",
}


def test_what_a_dead_letter_must_say() -> None:
    at = datetime(2026, 1, 2, 2, 4, 5, 678_000, UTC)
    assert read_dead_letter(GOOD) == Parked("too_deep", "", "input", "", at, 0)
    said = {**GOOD, "x-broker-error": "a\n b" + "x" * 300, "x-broker-id": "b", "x-other": 5}
    parked = read_dead_letter(said)
    assert (parked.error, parked.broker_id) == ("a b" + "x" * 252, "b")


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
    parked = dead_letter(
        Delivery("input", 1, b""), queue="parked", reason="r", error=error, broker_id="b"
    )
    line = parked.headers["x-broker-error"]
    assert len(line.encode()) <= 255
    assert len(line.splitlines()) <= 1
    if error.isascii() and error.isprintable():
        assert " ".join(error.split()).startswith(line)


def test_a_character_is_not_cut_in_two() -> None:
    parked = dead_letter(
        Delivery("q", 1, b""), queue="p", reason="r", error="x" + "ü" * 200, broker_id="b"
    )
    assert parked.headers["x-broker-error"] == "x" + "ü" * 127


def test_nothing_that_travels_shows_its_body() -> None:
    delivery = Delivery("input", 1, b"secret")
    parked = dead_letter(delivery, queue="parked", reason="r", error="e", broker_id="b")
    deliveries = Deliveries("input", [delivery], print)
    assert "secret" not in repr(Got(1, b"secret", 0))
    assert "secret" not in repr((delivery, parked, Settlement(delivery, parked), deliveries))
    assert repr(delivery) == "<Delivery 1 of 'input'>"
    assert repr(parked) == "<Publishing to 'parked'>"
