"""What a command prints on standard output: for people, or for programs."""

import sys
from contextlib import suppress
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console

Format = Annotated[
    Literal["text", "json"],
    Parameter(name="--format", help="text for people, or json for programs."),
]
"""The option `--format`, the same for every command that has one."""


def print_json(value: Any) -> None:
    """Print a value as one JSON document, indented.

    Args:
        value: Anything that msgspec encodes.
    """
    print_text(json_document(value))


def json_document(value: Any) -> str:
    """Return a value as one JSON document, indented, with a line's end.

    Args:
        value: Anything that msgspec encodes.
    """
    return f"{msgspec.json.format(msgspec.json.encode(value), indent=2).decode()}\n"


def print_text(text: str) -> None:
    """Print a text as it is; what nobody reads any more is lost."""
    with suppress(BrokenPipeError):
        sys.stdout.write(text)


def console() -> Console:
    """Return what prints for people: in colour on a terminal, and nothing marked up by accident."""
    return Console(highlight=False, markup=False, emoji=False)
