"""The latest messages, failures and events of a run, for people who watch it."""

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

_ENTRIES_KEPT = 100
_EVENTS_KEPT = 1000


class Routed(NamedTuple):
    """A message that the broker sent to an agent."""

    sender_id: str
    receiver_id: str
    message_type: str
    text: str


class NotRouted(NamedTuple):
    """A message that failed, or was dead-lettered: the reason is a code of the broker's."""

    sender_id: str
    reason: str
    text: str
    is_dead_letter: bool


class Event(NamedTuple):
    """What happened to a part of the system.

    Attributes:
        at: Seconds since the feed began.
        is_trouble: Whether it is a loss, as opposed to a recovery.
    """

    at: float
    text: str
    is_trouble: bool


type Entry = Routed | NotRouted | Event


class Feed:
    """The latest entries, and all events.

    Attributes:
        entries: Messages and events, the latest last.
        events: The events among them, of which more are kept.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self.entries: deque[Entry] = deque(maxlen=_ENTRIES_KEPT)
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self.event_count = 0

    def now(self) -> float:
        """Return the seconds since the feed began."""
        return self._clock() - self._began

    def add(self, entry: Routed | NotRouted) -> None:
        """Add a message."""
        self.entries.append(entry)

    def tell(self, text: str, *, is_trouble: bool = False) -> None:
        """Add an event of now."""
        event = Event(self.now(), text, is_trouble)
        self.entries.append(event)
        self.events.append(event)
        self.event_count += 1

    def events_since(self, count: int) -> list[Event]:
        """Return the events after the first `count`, as far as they are kept."""
        new = self.event_count - count
        return list(self.events)[-new:] if new > 0 else []
