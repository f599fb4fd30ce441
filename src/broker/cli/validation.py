"""What options must be, in words that read on from the option's name."""

import re
from typing import Any

_DURATION = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def is_at_least_one(_: Any, value: int | None) -> None:
    """Refuse numbers below 1.

    Raises:
        ValueError: It is one.
    """
    if value is not None and value < 1:
        raise ValueError("must be at least 1")


def is_duration(_: Any, text: str | None) -> None:
    """Refuse what `seconds` cannot read.

    Raises:
        ValueError: It is no duration.
    """
    if text is not None:
        seconds(text)


def seconds(text: str) -> int:
    """Return the seconds of a duration such as 90s, 15m, 2h or 3d.

    Raises:
        ValueError: It is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not text.isascii():
        raise ValueError("must be a duration such as 90s, 15m, 2h or 3d")
    return int(match[1]) * _SECONDS[match[2]]
