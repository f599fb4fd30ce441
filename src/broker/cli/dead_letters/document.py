"""A letter as a JSON document: exact, and safe on any terminal."""

import base64
import json
import math
from collections.abc import Mapping
from datetime import datetime

from broker.cli.dead_letters.letter import Letter
from broker.cli.output import utc

_MAX_DEPTH = 20
"""Levels of a header's value that are shown; what nests deeper was made to hurt."""


def summary(letter: Letter, now: datetime) -> str:
    """Return what there is to say of a letter, but for its content."""
    # In ASCII: neither control characters nor lone surrogates reach a terminal.
    return json.dumps(_summary(letter, now))


def content(letter: Letter, now: datetime) -> str:
    """Return the same with headers and body."""
    message = letter.message
    text = body_text(message.body)
    return json.dumps(
        {
            **_summary(letter, now),
            "headers": plain(message.headers),
            "correlation_id": plain(message.properties.get("correlation_id")),
            "properties": plain(message.properties),
            "body_encoding": "base64" if text is None else "utf-8",
            "body": base64.b64encode(message.body).decode() if text is None else text,
        }
    )


def body_text(body: bytes) -> str | None:
    """Return a body as text, or None when it is no UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def plain(value: object, depth: int = 0) -> object:
    """Return a value of an AMQP header as JSON has it; what JSON does not know becomes text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() if math.isfinite(value):
            return value
        case bytes() | bytearray():
            return f"base64:{base64.b64encode(value).decode()}"
        case Mapping() if depth < _MAX_DEPTH:
            return {str(name): plain(one, depth + 1) for name, one in value.items()}
        case list() if depth < _MAX_DEPTH:
            return [plain(one, depth + 1) for one in value]
        case _:
            return _text(value)


def _text(value: object) -> str:
    match value:
        case Mapping() | list():
            return "..."
        case datetime():
            return utc(value)
        case _:
            return str(value)


def _summary(letter: Letter, now: datetime) -> Mapping[str, object]:
    label, age = letter.label, letter.age(now)
    return {
        "number": letter.number,
        "id": letter.id,
        "reason": label and label.reason,
        "error": label and label.error,
        "queue": label and label.queue,
        "broker_id": label and label.broker_id,
        "dead_lettered_at": label and utc(label.at, precision="milliseconds"),
        "age_seconds": age and round(age.total_seconds(), 3),
        "replays": label and label.replays,
        "size": len(letter.message.body),
        "parts": len(letter.in_queue),
        "problem": letter.problem,
    }
