"""What a command prints on standard output: for people, or for programs."""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console


def print_json(value: Any) -> None:
    """Print anything that msgspec encodes as one JSON document, indented."""
    print_text(json_document(value))


def json_document(value: Any) -> str:
    """Return anything that msgspec encodes as one JSON document, indented, with a line's end."""
    return f"{msgspec.json.format(msgspec.json.encode(value), indent=2).decode()}\n"


def print_text(text: str) -> None:
    """Print a text as it is; what nobody reads any more is lost."""
    with suppress(BrokenPipeError):
        sys.stdout.write(text)


def address(host: str, port: int | None) -> str:
    """Return host and port as one writes them."""
    name = f"[{host}]" if ":" in host else host
    return name if port is None else f"{name}:{port}"


def utc(moment: datetime, *, precision: str = "seconds") -> str:
    """Return a moment as all commands write it, in UTC: `2026-01-02T03:04:05Z`.

    A moment without a zone is in UTC already.
    """
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision)}Z"


def counted(messages: int) -> str:
    """Return a number of messages in words."""
    return "1 message" if messages == 1 else f"{messages} messages"


def console() -> Console:
    """Return what prints for people: in colour on a terminal, and nothing marked up by accident."""
    return Console(highlight=False, markup=False, emoji=False)
