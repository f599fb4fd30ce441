"""What happened in a run, in order, with the simulated time."""

import math
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
import trio

from broker.amqp import AmqpTimeouts


class Trace:
    """The story of a run, and the promises that the broker broke in it.

    Attributes:
        blocked_from: When RabbitMQ blocked a connection last.
        blocked_until: When it read from that one again, or the connection was gone.
    """

    def __init__(self) -> None:
        self.blocked_from = self.blocked_until = -math.inf
        self.lines: list[str] = []
        self.violations: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(f"{trio.current_time():9.3f}  {what}")

    def violation(self, what: str) -> None:
        """Note a broken promise. The run ends at the next opportunity."""
        self.violations.append(what)
        self.note(f"VIOLATION: {what}")

    @property
    def was_blocked(self) -> bool:
        """Whether the silence of RabbitMQ was an alarm, as far as the broker can have seen it."""
        now = trio.current_time()
        was_seen = min(now, self.blocked_until) - self.blocked_from > _UNSEEN
        return was_seen and now - self.blocked_until < AmqpTimeouts().confirm - _UNSEEN


_BUGS = frozenset({"decision_failed", "session_failed", "publishing_failed", "policy_failed"})
"""Events of the log that no peer can cause."""
_RANDOM = frozenset({"pid", "version"})
_UNSEEN = 2.0
"""Seconds of an alarm that the broker may miss, as it looks for one each second."""


@contextmanager
def logged_to(trace: Trace) -> Iterator[None]:
    """Write what the broker logs into the trace, and nowhere else."""

    def log(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        name = event.pop("event")
        error = event.pop("exc_info", None)
        fields = " ".join(f"{key}={event[key]}" for key in event if key not in _RANDOM)
        trace.note(f"    log {level}: {name} {fields}")
        if error or name in _BUGS:
            trace.violation(f"the broker failed: {name}")
        if "confirmed nothing" in str(event.get("error")) and trace.was_blocked:
            trace.violation("it took an alarm for silence")
        raise structlog.DropEvent

    # In place, as structlog's own capture_logs does it: bound loggers hold on to the list.
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [log]
    try:
        yield
    finally:
        processors[:] = before
