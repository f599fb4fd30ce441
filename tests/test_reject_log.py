import math
from collections.abc import Mapping
from typing import Any

import structlog
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import RejectReason
from broker.reject_log import RejectLog


def line(queue: str, reason: RejectReason, count: int) -> Mapping[str, Any]:
    return {
        "event": "dead_lettered",
        "log_level": "warning",
        "queue": queue,
        "reason": reason.value,
        "count": count,
    }


def test_nothing_to_report() -> None:
    rejects = RejectLog()
    assert rejects.due_at() == math.inf
    with structlog.testing.capture_logs() as lines:
        rejects.report(1000)
    assert lines == []


def test_the_first_is_reported_at_once() -> None:
    rejects = RejectLog()
    rejects.add("in", RejectReason.TOO_DEEP)
    assert rejects.due_at() == -math.inf
    with structlog.testing.capture_logs() as lines:
        rejects.report(-1e9)
    assert lines == [line("in", RejectReason.TOO_DEEP, 1)]
    assert rejects.due_at() == math.inf


def test_later_ones_wait_and_are_counted() -> None:
    rejects = RejectLog()
    rejects.add("in", RejectReason.TOO_DEEP)
    rejects.report(1000)
    rejects.add("in", RejectReason.INVALID_JSON)
    rejects.add("in", RejectReason.TOO_DEEP)
    rejects.add("in", RejectReason.INVALID_JSON)
    rejects.add("meta", RejectReason.INVALID_JSON)
    assert rejects.due_at() == 1001
    with structlog.testing.capture_logs() as lines:
        rejects.report(1000.9)
        assert lines == []
        rejects.report(1001)
        rejects.report(1002)
    assert lines == [
        line("in", RejectReason.INVALID_JSON, 2),
        line("in", RejectReason.TOO_DEEP, 1),
        line("meta", RejectReason.INVALID_JSON, 1),
    ]


@given(st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from(RejectReason)), max_size=50))
def test_all_are_counted_in_few_lines(rejected: list[tuple[float, RejectReason]]) -> None:
    rejects = RejectLog()
    now = 0.0
    with structlog.testing.capture_logs() as lines:
        for pause, reason in rejected:
            now += pause
            rejects.add("in", reason)
            rejects.report(now)
        rejects.report(now + 1)
    assert sum(entry["count"] for entry in lines) == len(rejected)
    for reason in RejectReason:
        # The first, one a second, and the last.
        assert sum(entry["reason"] == reason.value for entry in lines) <= now + 2
