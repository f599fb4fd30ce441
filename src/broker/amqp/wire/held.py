"""Messages that are held until somebody can receive them: their headers."""

from collections.abc import Mapping
from typing import NamedTuple

UNTIL_HEADER = "x-broker-held-until"
SINCE_HEADER = "x-broker-held-since"
LOOK_HEADER = "x-broker-held-look"
EXPIRATION_HEADER = "x-broker-held-expiration"
HELD_HEADERS = (UNTIL_HEADER, SINCE_HEADER, LOOK_HEADER, EXPIRATION_HEADER)

_LONGEST_NUMBER = 15


class Held(NamedTuple):
    """How long a message is held. Times are milliseconds since 1970."""

    until: int
    since: int
    look: str = ""  # names who looked at it last, and when
    expiration: str | None = None  # the AMQP property, by which it would vanish meanwhile


def held_headers(held: Held) -> Mapping[str, str]:
    """Return the headers of a held message."""
    headers = {
        UNTIL_HEADER: str(held.until),
        SINCE_HEADER: str(held.since),
        LOOK_HEADER: held.look,
    }
    if held.expiration is not None:
        headers[EXPIRATION_HEADER] = held.expiration
    return headers


def held_of(texts: Mapping[str, str | None]) -> Held | None:
    """Return what the headers of a message say; None unless both times are there."""
    until, since = (_number(texts.get(name)) for name in (UNTIL_HEADER, SINCE_HEADER))
    if until is None or since is None:
        return None
    return Held(until, since, texts.get(LOOK_HEADER) or "", texts.get(EXPIRATION_HEADER))


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        return None
    return int(text)
