"""One line of a checklist."""

import msgspec


class Item(msgspec.Struct, frozen=True):
    """What was looked at, where (as in `RabbitMQ rabbit-1:5672`), and what was found.

    There is advice only when it is not as it must be, or, although it is, somebody should have a
    look at it.
    """

    subject: str
    name: str
    ok: bool
    found: str
    advice: str | None = None


def held(subject: str, name: str, found: str) -> Item:
    """Return an item that is as it must be."""
    return Item(subject, name, ok=True, found=found)


def doubtful(subject: str, name: str, found: str, advice: str) -> Item:
    """Return an item that is as it must be, but perhaps not as it should be."""
    return Item(subject, name, ok=True, found=found, advice=advice)


def failed(subject: str, name: str, found: str, advice: str) -> Item:
    """Return an item that is not."""
    return Item(subject, name, ok=False, found=found, advice=advice)
