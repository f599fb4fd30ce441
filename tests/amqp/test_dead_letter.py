"""Parked deliveries: as they came, with the reason."""

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from broker.amqp import Deliveries, Delivery, Settlement, dead_letter


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
    assert "secret" not in repr((delivery, parked, Settlement(delivery, parked), deliveries))
    assert repr(delivery) == "<Delivery 1 of 'input'>"
    assert repr(parked) == "<Publishing to 'parked'>"
