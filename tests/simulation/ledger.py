"""The promises to senders, checked at each step that RabbitMQ sees."""

import re
from enum import Enum, auto

from tests.simulation.trace import Trace

_NUMBERS = re.compile(rb'"(?:original_message_id|message_id|_client_id)": ?"#(\d+)#"')


def numbers_in(data: bytes) -> list[int]:
    """Return the numbers of the messages that are in bytes, or of which something came in them.

    That a message answers another does not count.
    """
    return [int(number) for number in _NUMBERS.findall(data)]


class Fate(Enum):
    ROUTED = "output"
    PARKED = "dead"
    NOTHING = "nothing"
    """It is acknowledged; nothing is published."""


class State(Enum):
    READY = auto()
    HELD = auto()
    """Delivered, and the broker has published nothing for it, or RabbitMQ did not take it."""
    ASKED = auto()
    """Published; the broker does not know the outcome."""
    RETURNED = auto()
    TAKEN = auto()
    """Published and confirmed."""
    ACKNOWLEDGED = auto()


class Message:
    """One message for the broker, from the moment when RabbitMQ accepted it."""

    def __init__(self, number: int, fate: Fate, sender_id: str | None) -> None:
        self.number = number
        self.fate = fate
        self.sender_id = sender_id
        self.state = State.READY
        self.delivery = 0
        """How often it was delivered."""
        self.consumer = ""
        self.tag = 0
        self.was_published = False
        """Whether something was published for this delivery."""
        self.receivers: set[str] = set()
        """Who may answer it."""
        self.copies = 0
        """How many copies of what came of it are in the output or dead-letter queue."""

    def __repr__(self) -> str:
        return f"#{self.number}"


class Ledger:
    """Follows each message, and notes in the trace which promise was broken."""

    def __init__(self, trace: Trace) -> None:
        self.messages: dict[int, Message] = {}
        self.put_back = 0
        """How many deliveries went back that the broker knows to be unsettled."""
        self._trace = trace
        self._last_tags: dict[str, int] = {}
        """By consumer: the last delivery for which something was published."""

    def accept(self, fate: Fate, sender_id: str | None = None) -> Message:
        message = Message(len(self.messages) + 1, fate, sender_id)
        self.messages[message.number] = message
        return message

    def delivered(self, message: Message, consumer: str, tag: int) -> None:
        message.state = State.HELD
        message.delivery += 1
        message.consumer = consumer
        message.tag = tag
        message.was_published = False

    def published(self, message: Message) -> None:
        match message.state:
            case State.READY:
                return  # by a session that has ended: the delivery has gone back already
            case State.ASKED | State.TAKEN:
                self._trace.violation(f"{message} was published twice without need")
            case State.ACKNOWLEDGED:
                self._trace.violation(f"{message} was published after it was acknowledged")
            case State.HELD if not message.was_published:
                self._first_published(message)
            case _:
                pass  # refused or returned before
        message.state = State.ASKED

    def _first_published(self, message: Message) -> None:
        if self._last_tags.get(message.consumer, 0) > message.tag:
            self._trace.violation(f"{message} was published out of order")
        if message.fate is Fate.NOTHING:
            self._trace.violation(f"something was published for {message}")
        self._last_tags[message.consumer] = message.tag
        message.was_published = True

    def has_copy(self, message: Message, fate: Fate, *, unroutable: bool) -> None:
        """Take note that RabbitMQ has a copy of what came of a message."""
        message.copies += 1
        if fate is not message.fate and not (unroutable and fate is Fate.PARKED):
            self._trace.violation(f"{message} should be {message.fate.name}, not {fate.name}")

    def resolved(self, message: Message, delivery: int, state: State) -> None:
        """Take note that the broker is told what became of a publishing."""
        if message.delivery == delivery and message.state is State.ASKED:
            message.state = state

    def acknowledged(self, message: Message) -> None:
        if message.fate is not Fate.NOTHING and message.state is not State.TAKEN:
            self._trace.violation(f"{message} was acknowledged while {message.state.name}")
        message.state = State.ACKNOWLEDGED

    def went_back(self, message: Message, *, is_lost: bool) -> None:
        # Once it was told of the confirm, the broker may have sent an acknowledgement, and nobody
        # tells it that the channel was gone by then.
        if not (is_lost and message.state is State.TAKEN):
            self.put_back += 1
        message.state = State.READY

    def check_nothing_lost(self, *, is_drained: bool) -> None:
        """Check at the end of a run, when nothing is connected any more."""
        for message in self.messages.values():
            if message.state is State.READY and not is_drained:
                continue
            if message.state is not State.ACKNOWLEDGED:
                self._trace.violation(f"{message} is still {message.state.name}")
            elif message.fate is not Fate.NOTHING and not message.copies:
                self._trace.violation(f"{message} was lost")
