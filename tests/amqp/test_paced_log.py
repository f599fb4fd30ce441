from collections.abc import Iterator

import pytest
import structlog
from structlog.typing import EventDict

from broker.amqp.paced_log import PacedLog
from tests.amqp.in_asyncio import in_stopped_time, passes


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def told(lines: list[EventDict]) -> list[tuple[str, str, int]]:
    found = [(line["queue"], line["reason"], line["count"]) for line in lines]
    lines.clear()
    return found


@in_stopped_time
async def test_the_first_is_logged_at_once_and_the_rest_once_a_second(
    lines: list[EventDict],
) -> None:
    log = PacedLog()
    log.add("dead_lettered", queue="in", reason="too_deep")
    await passes(0.01)
    assert lines[0]["event"] == "dead_lettered"
    assert lines[0]["log_level"] == "warning"
    assert told(lines) == [("in", "too_deep", 1)]

    for queue, reason in (("in", "a"), ("in", "b"), ("in", "a"), ("meta", "a")):
        log.add("dead_lettered", queue=queue, reason=reason)
    await passes(0.9)
    assert told(lines) == []
    await passes(0.2)
    assert told(lines) == [("in", "a", 2), ("in", "b", 1), ("meta", "a", 1)]

    await passes(5)
    assert told(lines) == [], "there is nothing to report"
    log.add("dead_lettered", queue="in", reason="a")
    await passes(0.01)
    assert told(lines) == [("in", "a", 1)]


@in_stopped_time
async def test_what_was_counted_last_is_logged_at_the_end(lines: list[EventDict]) -> None:
    log = PacedLog("tries")
    log.add("publishing_refused", queue="out")
    await passes(0.01)
    log.add("publishing_refused", queue="out")
    log.flush()
    assert [line["tries"] for line in lines] == [1, 1]
