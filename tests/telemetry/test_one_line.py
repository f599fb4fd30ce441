import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.telemetry.one_line import one_line, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("an ordinary line, with ünïcödé", "an ordinary line, with ünïcödé"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x00\x7f\x9b", r"\x1b[2J\x00\x7f\x9b"),
        ("left\u202eright\u2028", r"left\u202eright\u2028"),
        ("\udc80", r"\udc80"),
        ("amqp://me:hunter2@rabbit\n", r"amqp://me:***@rabbit\n"),
    ],
)
def test_one_line(text: str, expected: str) -> None:
    assert one_line(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amqp://me:hunter2@rabbit:5672/v", "amqp://me:***@rabbit:5672/v"),
        ("to 'wss://me:hunter2@server/ws', twice", "to 'wss://me:***@server/ws', twice"),
        ("amqp://me:hun/ter@2@rabbit", "amqp://me:***@rabbit"),
        ("amqp://:hunter2@rabbit", "amqp://:***@rabbit"),
        ("amqp://me:hunter2@a,amqp://me:hunter3@b", "amqp://me:***@b"),
        ("amqp://me:hunter2@a\namqp://me:hunter3@b", "amqp://me:***@a\namqp://me:***@b"),
        ("amqp://me@rabbit", "amqp://me@rabbit"),
        ("ws://server:8765/ws", "ws://server:8765/ws"),
        ("mail me: a@b", "mail me: a@b"),
        ("ws://server and a@b", "ws://server and a@b"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    assert redact(text) == expected


@given(st.text(st.characters()))
def test_any_text_fits_one_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1


@given(
    before=st.text(),
    user=st.text(st.characters(exclude_categories=["Z", "C"], exclude_characters=":@/")),
    password=st.text(st.sampled_from("hunter2:@/?#%"), min_size=1),
    after=st.text(),
)
def test_no_password_is_left(before: str, user: str, password: str, after: str) -> None:
    hidden = f"<{password}>"
    text = redact(f"{before} amqp://{user}:{hidden}@rabbit{after}")
    assert hidden not in text.removeprefix(before)


def test_time_is_linear_in_hostile_text() -> None:
    # A hundred thousand beginnings of a URL, and no end: quadratic time would be minutes.
    text = "://:" * 100_000
    assert redact(text + " @") == text + " @"
