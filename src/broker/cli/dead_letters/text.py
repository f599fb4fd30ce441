"""A letter as text for people: whatever is in it, nothing of it controls a terminal."""

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from textwrap import wrap

from broker.cli.dead_letters.document import body_text, plain
from broker.cli.dead_letters.letter import Letter
from broker.cli.output import utc
from broker.telemetry.one_line import one_line

_ROW = "{:>6}  {:24}  {:26}  {:20}  {:>4}  {:>8}  {:>7}  {:36}  {}\n"
HEADING = _ROW.format(
    "number", "reason", "queue", "since", "age", "bytes", "replays", "id", "error"
)
_WIDTH = 96
_MAX_HEADER_LENGTH = 1000
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def row(letter: Letter, now: datetime) -> str:
    """Return a line of the list."""
    label, size = letter.label, len(letter.message.body)
    id_ = one_line(letter.id or "-")
    if label is None:
        return _ROW.format(letter.number, "-", "-", "-", "-", size, "-", id_, _stranger(letter))
    return _ROW.format(
        letter.number,
        one_line(label.reason),
        one_line(label.queue),
        utc(label.at),
        _age(letter.age(now)),
        size,
        label.replays,
        id_,
        one_line(letter.problem or label.error),
    )


def page(letter: Letter, now: datetime) -> str:
    """Return all of a letter."""
    return "".join(f"{line}\n" for line in _page(letter, now))


def _page(letter: Letter, now: datetime) -> Iterator[str]:
    label, message = letter.label, letter.message
    if label is None:
        yield f"{letter.number}: {_stranger(letter)}"
    else:
        yield f"{letter.number}: {one_line(label.reason)}: {one_line(label.error)}"
        yield f"  queue    {one_line(label.queue)}"
        yield f"  since    {utc(label.at)} ({_age(letter.age(now))})"
        yield f"  broker   {one_line(label.broker_id)}"
        yield f"  replays  {label.replays}"
        if letter.problem is not None:
            yield f"  problem  {letter.problem}"
        if letter.messages:
            yield f"  parts    {len(letter.messages)}"
    for name, value in message.properties.items():
        yield f"  {name.replace('_', ' ')}  {_value(value)}"
    for name, value in message.headers.items():
        yield f"  header   {one_line(name)}: {_value(value)}"
    text_of_body = body_text(message.body)
    yield f"  body     {len(message.body)} bytes{', in base64' if text_of_body is None else ''}"
    if text_of_body is None:
        lines = wrap(base64.b64encode(message.body).decode(), _WIDTH)
    else:
        lines = text_of_body.split("\n") if text_of_body else []
    # Indented, so that no line of a body passes for one of these.
    yield from (f"    {_printable(line)}" for line in lines)
    yield ""


def _value(value: object) -> str:
    shown = plain(value)
    text = (
        shown if isinstance(shown, str) and isinstance(value, str | datetime) else json.dumps(shown)
    )
    cut = "" if len(text) <= _MAX_HEADER_LENGTH else f" ... ({len(text)} characters)"
    return f"{one_line(text[:_MAX_HEADER_LENGTH])}{cut}"


def _stranger(letter: Letter) -> str:
    return f"not a dead letter of a broker: {letter.problem}"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def _age(age: timedelta | None) -> str:
    seconds = int(age.total_seconds()) if age is not None else 0
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
