"""Dead letters without RabbitMQ: which are chosen, and how they are written down."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.amqp import Delivery, dead_letter
from broker.amqp.admin import Got
from broker.cli.dead_letters import document, text
from broker.cli.dead_letters.letter import read_letter
from broker.cli.dead_letters.selection import Selection
from broker.cli.option_types import seconds

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def got(body: bytes = b"{}", **headers: object) -> Got:
    return Got(1, body, 0, {name.replace("_", "-"): one for name, one in headers.items()})


def parked(
    age: timedelta,
    reason: str = "invalid_json",
    queue: str = "input",
    body: bytes = b"{}",
    **properties: object,
) -> Got:
    letter = got(
        body,
        x_broker_reason=reason,
        x_original_queue=queue,
        x_dead_lettered_at=(NOW - age).isoformat(),
    )
    return replace(letter, properties=properties)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), "abcd?"),
        (Selection(oldest=1), "abcd?"),
        (Selection(newest=1), "abcd?"),
        (Selection(number=(2, 5, 9)), "b?"),
        (Selection(number=(2,), reason=("too_large",)), ""),
        (Selection(id=("m-1",)), "ad?"),
        (Selection(id=("amqp-2", "m-9")), "b"),
        (Selection(id=("m-1",), newer_than="2d"), "d"),
        (Selection(reason=("too_deep",)), "b"),
        (Selection(reason=("too_deep", "too_large")), "bc"),
        (Selection(queue=("another",)), "c"),
        (Selection(reason=("too_deep",), queue=("another",)), ""),
        (Selection(older_than="90m"), "ab"),
        (Selection(older_than="2h"), "a"),
        (Selection(newer_than="2d"), "bcd"),
        (Selection(newer_than="2h"), "cd"),
        (Selection(older_than="90m", newer_than="2d"), "b"),
        (Selection(older_than="0s"), "abc"),
        (Selection(newer_than="999999999d"), "abcd"),
    ],
)
def test_selection(selection: Selection, chosen: str) -> None:
    letters = {
        "a": parked(timedelta(days=3), body=b'{"message_id": "m-1", "x": 1}'),
        "b": parked(timedelta(hours=2), "too_deep", body=b"[" * 100_000, message_id="amqp-2"),
        "c": parked(timedelta(hours=1), "too_large", "another", body=b'{"message_id": 7}'),
        # by a clock that is fast
        "d": parked(-timedelta(hours=1), body=b'{"message_id": "m-1"}', message_id="amqp-4"),
        "?": got(b'{"message_id": "m-1"}'),
    }
    matches = selection.matching(NOW)
    found = [
        name
        for number, (name, one) in enumerate(letters.items(), 1)
        if matches(read_letter(number, one))
    ]
    assert "".join(found) == chosen


@pytest.mark.parametrize(
    ("said", "meant"), [("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("3d", 259_200)]
)
def test_durations(said: str, meant: int) -> None:
    assert seconds(said) == meant


@pytest.mark.parametrize("said", ["", "5", "h", "-1h", "1.5h", "1w", "1h30m", " 1h", "1h\n", "²h"])
def test_what_is_no_duration(said: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as"):
        seconds(said)


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.binary(max_size=20)
    | st.binary(max_size=20).map(bytearray)
    | st.decimals()
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
names = st.sampled_from(
    ("x-broker-reason", "x-original-queue", "x-dead-lettered-at", "x-broker-replays", "traceparent")
)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [{"a": value}]
    return value


@given(st.binary(max_size=50), st.dictionaries(names | st.text(max_size=9), values, max_size=7))
@example(b"\x1b[2J\xc2\x9b\n  queue    x", {"x": nested(200)})
@example("\u202e\x9b\r\n".encode(), {"a\x1b": "\x9b\ud800"})
def test_whatever_comes_is_written_down(body: bytes, headers: dict[str, object]) -> None:
    properties = {"reply_to": b"\xff", "correlation_id": "\x1b", "timestamp": 2**64 - 1}
    letter = read_letter(7, Got(1, body, 0, headers, properties))
    assert (letter.label is None) == (letter.problem is not None)
    for write in (document.summary, document.content):
        written = write(letter, NOW)
        assert written.isascii()
        assert written.isprintable()
        found = json.loads(written, parse_constant=pytest.fail)
        assert (found["number"], found["size"]) == (7, len(body))
    row, page = text.row(letter, NOW), text.page(letter, NOW)
    assert row.endswith("\n")
    assert row.removesuffix("\n").isprintable()
    assert page.replace("\n", "").replace("\t", "").isprintable()
    assert page.startswith("7: ")


@given(
    st.binary(max_size=50),
    st.text(max_size=300),
    st.integers(0, 999_999),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
)
def test_what_a_broker_parks_is_read(body: bytes, error: str, replays: int, queue: str) -> None:
    publishing = dead_letter(
        Delivery(queue, 1, body, replays=replays),
        queue="parked",
        reason="invalid_json",
        error=error,
        broker_id="broker-1",
    )
    letter = read_letter(1, Got(1, body, 0, publishing.headers))
    assert letter.problem is None
    assert letter.label is not None
    assert (letter.label.reason, letter.label.queue) == ("invalid_json", queue)
    assert (letter.label.replays, letter.label.broker_id) == (replays, "broker-1")
    assert letter.label.error == publishing.headers["x-broker-error"]
    assert timedelta() <= datetime.now(UTC) - letter.label.at < timedelta(minutes=1)


def test_no_line_of_a_body_passes_for_ours() -> None:
    letter = read_letter(1, got(b"a\n2: invalid_json: x\n  queue    y"))
    lines = text.page(letter, NOW).splitlines()
    assert lines[-4:] == ["    a", "    2: invalid_json: x", "      queue    y", ""]


@pytest.mark.parametrize(
    ("age", "said"),
    [
        (timedelta(seconds=59.9), "59s"),
        (timedelta(minutes=59), "59m"),
        (timedelta(hours=23, minutes=59), "23h"),
        (timedelta(days=400), "400d"),
        (-timedelta(hours=1), "0s"),
    ],
)
def test_ages(age: timedelta, said: str) -> None:
    assert text.row(read_letter(1, parked(age)), NOW).split()[4] == said


def test_a_long_header_is_cut() -> None:
    page = text.page(read_letter(1, got(h="x" * 5000)), NOW)
    assert "x" * 1000 + " ... (5000 characters)\n" in page
