import io
import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TextIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from broker.telemetry import logs
from broker.telemetry.logs import configure_logging, log_as

HIDDEN = "Tr0ub4dor"
URL = f"amqp://me:{HIDDEN}@rabbit:5672/v"
OPENTELEMETRY = ("opentelemetry", "opentelemetry.trace", "opentelemetry.util")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Leave the logging of the process as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    named = {
        name: (logger.level, logger.propagate, logger.handlers[:])
        for name in ("aiormq", "pamqp", "asyncio", "trio-websocket", "urllib3", *OPENTELEMETRY)
        for logger in [logging.getLogger(name)]
    }
    # basicConfig(force=True) closes the handlers it finds, which are pytest's.
    root.handlers = []
    yield
    logging.captureWarnings(capture=False)
    root.handlers = handlers
    root.setLevel(level)
    for name, (its_level, propagate, its_handlers) in named.items():
        logger = logging.getLogger(name)
        logger.setLevel(its_level)
        logger.propagate = propagate
        logger.handlers = its_handlers
    structlog.reset_defaults()


def configured(style: str = "json", level: str = "debug") -> tuple[Any, Callable[[], list[str]]]:
    """Configure a stream of its own; return a logger and what reads the lines."""
    stream = io.StringIO()
    configure_logging(level, style, stream)
    return structlog.get_logger(), lambda: stream.getvalue().splitlines()


def fail(text: str) -> None:
    password = HIDDEN  # a local variable that no traceback may show
    raise ValueError(text, len(password))


class TestJson:
    def test_shape(self) -> None:
        log, lines = configured()
        fields = {"agent_id": "a1", "count": 2, "ratio": 0.5, "online": True, "name": None}
        log.info("agent registered", **fields)
        [line] = lines()
        event = json.loads(line)
        assert list(event)[:3] == ["timestamp", "level", "event"]
        moment = datetime.fromisoformat(event.pop("timestamp"))
        assert moment.utcoffset() == timedelta(0)
        assert event == {"level": "info", "event": "agent registered", **fields}

    def test_values_json_does_not_know(self) -> None:
        log, lines = configured()
        log.info("x", error=TimeoutError(), nan=float("nan"), names={"b"}, nested={1: [b"x"]})
        event = json.loads(lines()[0])
        assert [event["error"], event["nan"], event["names"]] == ["TimeoutError()", "nan", ["b"]]
        assert event["nested"] == {"1": ["b'x'"]}

    @given(text=st.text(st.characters()), key=st.from_regex(r"[a-z]{1,5}_id", fullmatch=True))
    def test_any_text_survives_in_one_line(self, text: str, key: str) -> None:
        log, lines = configured()
        log.info("x", **{key: text})
        [line] = lines()
        assert line.isascii()
        assert json.loads(line)[key] == text

    def test_exception(self) -> None:
        log, lines = configured()
        try:
            fail(f"cannot reach {URL}\nsecond line")
        except ValueError:
            log.exception("failed")
        [line] = lines()
        assert HIDDEN not in line
        [stack] = json.loads(line)["exception"]
        assert stack["exc_type"] == "ValueError"
        assert "amqp://me:***@rabbit" in stack["exc_value"]
        assert stack["frames"][-1]["name"] == "fail"
        assert "locals" not in stack["frames"][-1]

    def test_exception_group(self) -> None:
        log, lines = configured()
        error = ExceptionGroup("two", [ValueError(URL), ExceptionGroup("in", [OSError(URL)])])
        log.error("failed", exc_info=error)
        [line] = lines()
        assert HIDDEN not in line
        assert "OSError" in line


class TestConsole:
    def test_shape(self) -> None:
        log, lines = configured("console")
        log.warning("agent registered", agent_id="a1")
        [line] = lines()
        shape = r"\d{4}-\d\d-\d\dT\S+Z \[warning *\] agent registered +agent_id=a1"
        assert re.fullmatch(shape, line)

    @given(text=st.text(st.characters()))
    def test_any_text_takes_one_line(self, text: str) -> None:
        log, lines = configured("console")
        log.info(text, agent_id=text, nested=[{text: text}])
        [line] = lines()
        assert line.isprintable()

    def test_exception(self) -> None:
        log, lines = configured("console")
        try:
            fail(f"cannot reach {URL}\n2025-01-01T00:00:00Z [info] forged\x1b[2J\r")
        except ValueError:
            log.exception("failed", agent_id="a1")
        first, *rest = lines()
        assert first.endswith("agent_id=a1")
        assert all(line.startswith("    ") and line.isprintable() for line in rest)
        text = "\n".join(rest)
        assert "Traceback" in text
        assert "in fail\n" in text
        assert "amqp://me:***@rabbit" in text
        assert HIDDEN not in text

    def test_colours_on_a_terminal_unless_unwanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def said() -> str:
            terminal = Terminal()
            configure_logging("info", "console", terminal)
            structlog.get_logger().info("hello")
            return terminal.getvalue()

        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "\x1b[" in said()
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[" not in said()


@pytest.mark.parametrize(("stream", "is_json"), [(Terminal(), False), (io.StringIO(), True)])
def test_auto(stream: io.StringIO, is_json: bool) -> None:
    configure_logging("info", "auto", stream)
    structlog.get_logger().info("hello")
    assert stream.getvalue().startswith("{") is is_json


@pytest.mark.parametrize("style", ["json", "console"])
class TestBoth:
    def test_level(self, style: str) -> None:
        log, lines = configured(style, "error")
        for logger in (log, logging.getLogger("some.library"), logging.getLogger("asyncio")):
            logger.warning("quiet")
            logger.error("loud")
        assert len(lines()) == 3
        assert all("loud" in line for line in lines())

    def test_url_passwords_are_redacted_everywhere(self, style: str) -> None:
        class Peer:
            def __str__(self) -> str:
                return URL

        log, lines = configured(style)
        event = f"to {URL}"
        log.info(event, url=URL, urls=[URL], by={URL: URL}, error=OSError(URL), peer=Peer())
        logging.getLogger("some.library").warning("to %s", URL)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(URL, stacklevel=1)
        assert len(lines()) == 3
        assert all("me:***@rabbit" in line for line in lines())
        assert not any(HIDDEN in line for line in lines())

    def test_standard_library(self, style: str) -> None:
        _, lines = configured(style)
        logging.getLogger("some.library").error("lost\n%s", "agent\n1")
        [line] = lines()
        assert all(part in line for part in ("some.library", "error", r"lost\nagent\n1"))

    def test_standard_library_exception(self, style: str) -> None:
        _, lines = configured(style)
        try:
            fail(URL)
        except ValueError:
            logging.getLogger("some.library").exception("failed", stack_info=True)
        text = "\n".join(lines())
        assert "ValueError" in text
        assert HIDDEN not in text
        assert style == "console" or len(lines()) == 1

    def test_a_library_that_logs_wrongly_goes_on(self, style: str) -> None:
        _, lines = configured(style)
        template = "%d and %d"
        logging.getLogger("some.library").warning(template, "one")
        [line] = lines()
        assert "cannot be formatted" in line
        assert __file__ in line

    def test_warnings(self, style: str) -> None:
        _, lines = configured(style)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("two\nlines", ResourceWarning, stacklevel=1)
        [line] = lines()
        assert "ResourceWarning: two" in line

    def test_silenced_libraries(self, style: str) -> None:
        _, lines = configured(style)
        logging.getLogger("aiormq.connection").critical("a body")
        child = logging.getLogger("aiormq.test_silenced_libraries")
        child.setLevel(logging.DEBUG)
        child.critical("a body")
        logging.getLogger("pamqp.frame").critical("a body")
        for name in ("asyncio", "trio-websocket"):
            logging.getLogger(name).info("chatter")
            assert lines() == []
        for name in ("asyncio", "trio-websocket"):
            logging.getLogger(name).warning("serious")
        assert len(lines()) == 2

    def test_a_collector_that_is_away_does_not_flood_the_log(
        self, style: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr(logs, "monotonic", lambda: now)
        log, lines = configured(style)
        logging.getLogger("opentelemetry.sdk").info("chatter")
        logging.getLogger("opentelemetry.trace.span").critical("what an agent sent")
        logging.getLogger("opentelemetry.util.re").critical("header %s", HIDDEN)
        assert lines() == []
        for _ in range(3):
            logging.getLogger("opentelemetry.exporter").warning("transient error")
            logging.getLogger("opentelemetry.sdk").error("queue full")
        assert len(lines()) == 1
        assert "transient error" in lines()[0]
        log.info("somebody else")
        logging.getLogger("some.library").warning("somebody else")
        assert len(lines()) == 3
        now += 60
        logging.getLogger("opentelemetry.sdk").error("queue full")
        assert "queue full" in lines()[3]

    @pytest.mark.parametrize("kind", ["broken", "closed", "absent"])
    def test_a_lost_stream_is_survived(
        self, style: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stream: TextIO | None
        if kind == "absent":
            monkeypatch.setattr(sys, "stderr", None)
            stream = None
        else:
            stream = Broken() if kind == "broken" else io.StringIO()
        configure_logging("info", style, stream)
        if kind == "closed" and stream is not None:
            stream.close()
        structlog.get_logger().error("nobody hears", error=OSError("x"))
        logging.getLogger("some.library").error("nobody hears")


class TestBrokerId:
    def test_it_is_on_every_line_once_it_is_known(self) -> None:
        logger, lines = configured()
        logger.info("before")
        log_as("broker_0042")
        logger.info("after")
        logging.getLogger("some.library").warning("said")
        thread = threading.Thread(target=logger.info, args=("elsewhere",))
        thread.start()
        thread.join()
        logger.info("registered", broker_id="broker-7")
        found = [json.loads(line).get("broker_id") for line in lines()]
        assert found == [None, *["broker_0042"] * 3, "broker-7"]

    def test_the_latest_counts_until_logging_is_configured_anew(self) -> None:
        logger, lines = configured("console")
        log_as("broker_0042")
        log_as("broker-7\x1b[2J")
        logger.info("event")
        [line] = lines()
        assert line.endswith(r"broker_id=broker-7\x1b[2J")
        logger, lines = configured()
        structlog.get_logger().info("event")
        [line] = lines()
        assert "broker_id" not in line


def test_a_stream_closed_before_is_survived() -> None:
    stream = io.StringIO()
    stream.close()
    configure_logging("info", "auto", stream)
    structlog.get_logger().error("nobody hears")


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger().info("hello")
    assert json.loads(capsys.readouterr().err)["event"] == "hello"


def test_filtered_events_cost_nothing() -> None:
    log, _ = configured(level="info")
    assert log.bind().debug.__name__ == "_nop"


def test_lines_of_several_threads_stay_whole() -> None:
    log, lines = configured()

    def speak(name: str) -> None:
        for number in range(50):
            log.info(name * 100, number=number)
            logging.getLogger(name).info("%d", number)

    threads = [threading.Thread(target=speak, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in lines()]) == 300
