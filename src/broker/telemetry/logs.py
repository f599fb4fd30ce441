"""Logging: one line per event, on one stream, whoever speaks and whatever was said.

The broker's own events go through structlog; those of libraries, which use the standard library's
logging, and Python's warnings are rendered by the same processors.
"""

import logging
import math
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from time import monotonic
from typing import TextIO, cast

import structlog
from structlog.dev import ConsoleRenderer
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper, add_log_level
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from broker.telemetry.one_line import one_line, redact

# They log message bodies; their errors are reported by whoever translates them.
_SILENT = (
    "aiormq",
    "pamqp",
    "opentelemetry.trace",  # what strangers write into the headers of messages
    "opentelemetry.util",  # what the operator wrote into OTEL_EXPORTER_OTLP_HEADERS: secrets
)
_AT_LEAST_WARNING = ("asyncio", "hypercorn", "opentelemetry", "trio-websocket", "urllib3")
_SELDOM = "opentelemetry"
"""A collector that is away makes it speak for each batch of spans."""
_SELDOM_INTERVAL = 60.0
"""Seconds between two of its lines."""


_on_every_line: dict[str, str] = {}
"""Fields of all lines of the process, whichever thread or library writes them."""


def log_as(broker_id: str) -> None:
    """Put the broker's id on every further line of the process. For one broker per process."""
    _on_every_line["broker_id"] = broker_id


def configure_logging(
    level: str,
    format: str,  # noqa: A002 - named like the setting
    stream: TextIO | None = None,
) -> None:
    """Configure all logging of the process, for the whole of its life.

    Call it once and early: a logger keeps the configuration of its first event.

    Args:
        level: Least level to log, in lower case.
        format: `json`, `console`, or `auto` for console on a terminal and JSON otherwise.
        stream: Where the lines go, by default standard error. Once it is broken or closed the
            lines are lost, and nothing else.
    """
    _on_every_line.clear()
    stream = sys.stderr if stream is None else stream
    terminal = stream is not None and not stream.closed and stream.isatty()
    least = logging.getLevelNamesMapping()[level.upper()]
    console = format == "console" or (format == "auto" and terminal)
    rendering = _console(colors=terminal) if console else _json()
    lines = cast("TextIO", _Lines(stream))
    structlog.configure(
        processors=[add_log_level, _add_common_fields, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(lines),
        cache_logger_on_first_use=True,
    )
    _configure_standard_library(least, rendering, lines)


def _add_common_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in _on_every_line.items():
        event.setdefault(name, value)
    return event


def _json() -> list[Processor]:
    return [
        TimeStamper(fmt="iso", utc=True),
        # Local variables stay out of it: that is where payloads and secrets are.
        ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        _cleaning(redact),  # JSON itself escapes the rest
        JSONRenderer(),
    ]


def _console(*, colors: bool) -> list[Processor]:
    return [
        TimeStamper(fmt="iso", utc=True),
        _cleaning(one_line),
        ExceptionRenderer(_indented_traceback),
        ConsoleRenderer(colors=colors and "NO_COLOR" not in os.environ),
    ]


def _indented_traceback(exc_info: ExcInfo) -> str:
    text = "".join(traceback.format_exception(exc_info[1])).rstrip("\n")
    # Indented, no line of an exception's text can pass for an event of its own.
    return "\n".join(f"    {one_line(line)}" for line in text.split("\n"))


def _cleaning(write: Callable[[str], str]) -> Processor:
    """Reduce all values to what JSON knows, and pass all text through one function."""

    def clean(value: object) -> object:
        match value:
            case str():
                return write(value)
            case None | bool() | int():
                return value
            case float() if math.isfinite(value):  # JSON knows no NaN
                return value
            case Mapping():
                return {write(str(key)): clean(item) for key, item in value.items()}
            case list() | tuple() | AbstractSet():
                return [clean(item) for item in value]
            case _:  # str() of many an exception is empty
                return write(repr(value) if isinstance(value, BaseException) else str(value))

    def process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        first = {key: event.pop(key) for key in ("timestamp", "level", "event")}
        exc_info = event.pop("exc_info", None)
        cleaned = {key: clean(value) for key, value in (first | dict(event)).items()}
        return cleaned if exc_info is None else cleaned | {"exc_info": exc_info}

    return process


def _configure_standard_library(least: int, rendering: list[Processor], lines: TextIO) -> None:
    handler = _Handler(lines)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[add_log_level, add_logger_name, _add_common_fields],
            processors=[ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    handler.addFilter(_Seldom(_SELDOM))
    logging.basicConfig(level=least, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in _SILENT:
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False  # a child with a level of its own is not heard either
        logger.handlers = [logging.NullHandler()]
    for name in _AT_LEAST_WARNING:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


class _Handler(logging.StreamHandler[TextIO]):
    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception:  # noqa: BLE001 - what a library logs wrongly must not fail the library
            place = f"{record.pathname}:{record.lineno}"
            record.msg, record.args = f"an event that cannot be formatted, from {place}", ()
            return super().format(record)


class _Seldom(logging.Filter):
    """Lets a library say one thing in an interval, and everybody else speak."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._earliest = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):  # somebody else
            return True
        now = monotonic()
        if now < self._earliest:
            return False
        self._earliest = now + _SELDOM_INTERVAL
        return True


class _Lines:
    """A stream for whole lines, from any thread, that survives the loss of what is behind it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        if self._stream is None:  # standard error was closed before the start
            return
        # There is nowhere left to report it: OSError when the reader is gone, ValueError when
        # the stream is closed.
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(line)
            self._stream.flush()

    def flush(self) -> None:
        """Do nothing: every line is flushed as it is written."""
