"""What happened in a run, in order, with the simulated time."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog
import trio


class Trace:
    """The story of a run, and the promises that the broker broke in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.violations: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(f"{trio.current_time():9.3f}  {what}")

    def violation(self, what: str) -> None:
        """Note a broken promise. The run ends at the next opportunity."""
        self.violations.append(what)
        self.note(f"VIOLATION: {what}")


_BUGS = frozenset({"decision_failed", "session_failed", "settling_failed"})
"""Events of the log that no peer can cause."""
_RANDOM = frozenset({"pid", "version"})


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
        raise structlog.DropEvent

    # In place, as structlog's own capture_logs does it: bound loggers hold on to the list.
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [log]
    try:
        yield
    finally:
        processors[:] = before
