"""Figures in words, the same wherever people read them."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """Return a duration for people, in one or two units."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR / _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY / _HOUR:.0f} h"


def messages(count: int, verb: str) -> str:
    """Return a number of messages, and what they do: "1 message waits", "2,000 messages wait"."""
    return f"1 message {verb}s" if count == 1 else f"{count:,} messages {verb}"
