"""JSON with escapes that are half of a surrogate pair, such as half an emoji.

Python's and JavaScript's libraries write them when a text is cut off in mid-emoji. RFC 8259 allows
it by its grammar, but such a text has no UTF-8, and msgspec refuses the whole document.
"""

import re

_STAND_IN = rb"\u0000"
"""As long as what it stands for. No agent id may contain it, so it cannot make up another agent."""

# It begins with a literal, so that the search for it takes no time where there are no escapes.
_ESCAPE = re.compile(
    rb"\\(?:(\\"  # an escaped backslash: what follows it is no escape
    rb"|u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"  # a whole pair
    rb"|u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


_NAME = "lone-surrogate-"
_MARK = rb"\u0000" + _NAME.encode()
"""Stands in a marked text for the backslash and the `u` of an escape; its digits stay."""
_MARKED = re.compile(re.escape(_MARK) + rb"(?=[dD][89a-fA-F][0-9a-fA-F]{2})")
_SHOWN = re.compile(f"\0(?:{_NAME}[0-9a-fA-F]{{4}})?")


def mark_lone_surrogates(text: bytes) -> bytes:
    r"""Return a JSON text in which lone surrogates are marked, to be restored after it was parsed.

    Each becomes a NUL and a few characters that tell which it was: texts that differ still do, and
    no agent id may contain a NUL. A text that has such a mark already is not changed.

    It is for texts that could not be parsed, since it takes as long as parsing them.
    """
    if _MARK in text:
        return text
    return _ESCAPE.sub(lambda found: found[0] if found[1] else _MARK + found[0][2:], text)


def restore_lone_surrogates(text: bytes) -> bytes:
    """Return a JSON text of marked ones with the escapes as they were before."""
    return _MARKED.sub(rb"\\u", text)


def show_lone_surrogates(text: str) -> str:
    """Return a text, masked or marked, with replacement characters for people."""
    return _SHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


def mask_lone_surrogates(text: bytes) -> bytes:
    r"""Return a JSON text with a NUL (`\u0000`) in place of each lone surrogate.

    It is for texts that could not be parsed, since it takes as long as parsing them.
    """
    return _ESCAPE.sub(lambda found: found[0] if found[1] else _STAND_IN, text)
