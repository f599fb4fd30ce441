"""Text from outside, made fit for a line in a log or on a terminal."""

import re
import sys
from contextlib import suppress

WRONG_USAGE = 2
"""The exit code for a wrong usage or configuration."""

_WORD = re.compile(r"\S+")


def one_line(text: str) -> str:
    r"""Redact a text, and escape what is not printable: `\n`, `\x1b`, `\u202e` and the like."""
    text = redact(text)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def redact(text: str) -> str:
    """Replace the passwords of URLs (`://user:password@`) by `***`.

    When several URLs follow each other without a space, everything from the first password to the
    last `@` is replaced.
    """
    if "://" not in text or "@" not in text:
        return text
    return _WORD.sub(_redact_word, text)


def _redact_word(match: re.Match[str]) -> str:
    # Plain searches take linear time on any text; an expression for the whole URL would not.
    word = match[0]
    scheme, slashes, rest = word.partition("://")
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{slashes}{user}{colon}***{at}{host}" if colon else word


def complain(*problems: str) -> int:
    """Say in a line each what is wrong, and return the exit code for it."""
    if sys.stderr is None:  # closed before the start
        return WRONG_USAGE
    for problem in problems:
        with suppress(OSError):  # nobody listens any more
            sys.stderr.write(f"broker: {one_line(problem)}\n")
    return WRONG_USAGE
