"""What a broker says of itself is compared with what it should say."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from tests.faults.readiness import (
    DETECTION,
    READY,
    RECOVERY,
    UNREADY,
    Answers,
    Connections,
    Readiness,
    Said,
    Session,
    watching,
)
from tests.lab.autojump import autojump

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PORT = 5001


def said(*, ready: bool, since: datetime = BEGIN, port: int = PORT) -> Said:
    session = Session("connected", f"amqp://guest@127.0.0.1:{port}/%2F", since)
    return Said(ready, Connections(session))


def answers(code: int = READY, since: datetime = BEGIN, port: int = PORT) -> Answers:
    this = said(ready=code == READY, since=since, port=port)
    return Answers(this, code, this)


def test_a_broker_that_is_ready() -> None:
    readiness = Readiness()
    assert readiness.see(BEGIN, answers(), {}) is None
    assert readiness.ready_at == BEGIN


@pytest.mark.parametrize("given", [None, answers(UNREADY)])
def test_it_may_be_unready_for_a_while(given: Answers | None) -> None:
    readiness = Readiness()
    assert readiness.see(BEGIN, given, {}) is None
    assert readiness.ready_at is None
    assert readiness.see(BEGIN + RECOVERY, given, {}) is None
    assert readiness.see(BEGIN + RECOVERY + SECOND, given, {}) == "not ready for 16.0 s"


def test_the_while_begins_anew_when_it_was_ready_or_restarted() -> None:
    readiness = Readiness()
    for number in range(10):
        at = BEGIN + number * RECOVERY
        assert readiness.see(at, answers(UNREADY), {}) is None
        if number % 2:
            readiness.restarted()
            assert readiness.ready_at is None
        else:
            assert readiness.see(at + SECOND, answers(), {}) is None


@pytest.mark.parametrize("code", [UNREADY, 404])
def test_both_documents_say_the_same(code: int) -> None:
    this = said(ready=True)
    assert Readiness().see(BEGIN, Answers(this, code, this), {}) is not None


def test_what_changes_meanwhile_is_not_judged() -> None:
    changing = Answers(said(ready=True), UNREADY, said(ready=False))
    assert Readiness().see(BEGIN, changing, {}) is None


def test_its_node_is_gone() -> None:
    gone = {PORT: BEGIN + SECOND}
    soon, late = BEGIN + SECOND + DETECTION, BEGIN + 2 * SECOND + DETECTION
    assert Readiness().see(soon, answers(), gone) is None
    assert Readiness().see(late, answers(), gone) == "ready 6.0 s after its node had gone away"
    assert Readiness().see(late, answers(UNREADY), gone) is None
    assert Readiness().see(late, answers(port=PORT + 1), gone) is None
    # It came back, and so did the broker.
    assert Readiness().see(late, answers(since=BEGIN + 2 * SECOND), gone) is None


@autojump
async def test_only_answers_given_since_count() -> None:
    upcoming = [answers(), answers(UNREADY), None, answers()]

    async def ask(_: object) -> Answers | None:
        return upcoming.pop(0) if len(upcoming) > 1 else upcoming[0]

    broker: Any = SimpleNamespace(is_running=True)
    async with watching([broker], {}, ask) as watch:
        await trio.testing.wait_all_tasks_blocked()
        # It was ready. Since then it may have been restarted, unseen between two looks at it.
        await watch.all_ready()
    assert upcoming == [answers()]
