"""What people are told first, in the situations that it must tell apart."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.status.model import QueueStatus, Status, Verdict
from broker.status.verdict import verdict
from tests.status.page import statuses
from tests.status.page.statuses import NOW, WORKING

INPUT = QueueStatus("input", "in", 0, 1, 0.0, "ok")
OUTPUT = QueueStatus("output", "out", 0, 1, 0.0, "ok")
LETTERS = QueueStatus("dead_letter", "letters", 4_000, 0, 3.0, "ok")
CALM = replace(WORKING, queues=[INPUT, OUTPUT, LETTERS])


def seen(status: Status = CALM, *queues: QueueStatus) -> Verdict:
    return verdict(replace(status, queues=queues or status.queues))


def with_queues(status: Status) -> Status:
    return replace(status, queues=[replace(INPUT, messages=1_234), OUTPUT, LETTERS])


@pytest.mark.parametrize(
    ("status", "tone", "word"),
    [
        (CALM, "good", "Routing"),
        (statuses.WORKING, "good", "Routing"),
        (statuses.STOPPING, "warn", "Stopping"),
        (statuses.WITHOUT_RABBITMQ, "bad", "Paused: no connection to RabbitMQ"),
        (statuses.BLOCKED, "bad", "Paused: RabbitMQ blocks publishing"),
        (statuses.STALE, "bad", "Paused: no connection to the central server"),
        (statuses.WITHOUT_SERVER, "warn", "Routing, but without the central server"),
        (statuses.NOBODY_ONLINE, "warn", "Routing, but no agent is online"),
        (replace(WORKING, ready=False), "warn", "Routing, but a check fails"),
        (replace(WORKING, state="paused", ready=False), "bad", "Paused"),
        (
            replace(statuses.STALE, connections=WORKING.connections),
            "bad",
            "Paused: the online agents are not known",
        ),
    ],
)
def test_each_situation_has_its_headline(status: Status, tone: str, word: str) -> None:
    found = seen(status)
    assert (found.tone, found.word) == (tone, word)
    assert found.why.endswith(".")


def test_dead_letters_wait_and_nobody_is_warned() -> None:
    assert seen().tone == "good"


class TestOutput:
    def test_that_nobody_reads(self) -> None:
        found = seen(CALM, INPUT, replace(OUTPUT, messages=20_164, consumers=0, state="unread"))
        assert found == Verdict(
            "warn",
            "Routing, but nobody reads out: 20,164 waiting",
            "Messages are routed, and do not arrive. Check that the central server consumes it.",
        )

    def test_that_is_read_too_slowly(self) -> None:
        found = seen(CALM, replace(OUTPUT, messages=5_000, growth=70.4, state="growing"))
        assert found.word == "Routing, but out is read too slowly: 5,000 waiting"
        assert found.why.startswith("It grows by 70 messages per second.")

    def test_several_share_a_headline(self) -> None:
        unread = replace(OUTPUT, messages=600, state="unread")
        found = seen(CALM, *(replace(unread, name=f"out-{number}") for number in range(3)))
        assert found.word == "Routing, but nobody reads out-0 and 2 more: 1,800 waiting"


class TestInput:
    def test_to_which_more_comes_than_is_routed(self) -> None:
        found = seen(CALM, replace(INPUT, messages=9_000, growth=100.0, state="growing"), OUTPUT)
        assert found.word == "Routing, but more arrives than is routed: 9,000 waiting"
        assert found.why == "in grows by 100 messages per second."

    def test_that_one_has_no_agent_to_go_to_comes_first(self) -> None:
        growing = replace(INPUT, messages=9_000, growth=100.0, state="growing")
        assert seen(statuses.NOBODY_ONLINE, growing).word == "Routing, but no agent is online"


class TestWithoutServer:
    def test_it_says_when_routing_pauses(self) -> None:
        status = replace(statuses.WITHOUT_SERVER, pauses_at=NOW + timedelta(seconds=47))
        assert seen(status).why == "Routing pauses in 47 s unless the server is back."

    def test_routing_that_never_pauses(self) -> None:
        assert seen(statuses.WITHOUT_SERVER).why == (
            "Messages are routed by the last known status."
        )

    def test_a_moment_that_has_passed_is_now(self) -> None:
        status = replace(statuses.WITHOUT_SERVER, pauses_at=NOW - timedelta(seconds=0.5))
        assert "pauses in 0 s" in seen(status).why

    def test_it_says_as_well_that_nobody_reads(self) -> None:
        found = seen(
            statuses.WITHOUT_SERVER, replace(OUTPUT, messages=7, consumers=0, state="unread")
        )
        assert found.why.endswith(" Nobody reads out: 7 waiting.")


class TestPaused:
    SINCE = NOW - timedelta(minutes=3, seconds=4)

    @pytest.mark.parametrize(
        ("status", "end"),
        [
            (statuses.WITHOUT_RABBITMQ, "The broker retries, and continues by itself."),
            (statuses.BLOCKED, "It continues when RabbitMQ has memory and disk space again."),
            (
                statuses.STALE,
                "It continues when the server is back and sends a status update.",
            ),
        ],
    )
    def test_it_says_since_when_how_many_wait_and_what_ends_it(
        self, status: Status, end: str
    ) -> None:
        found = seen(replace(with_queues(status), paused_since=self.SINCE))
        assert found.why == (f"Nothing has been routed for 3 min; 1,234 messages wait in in. {end}")

    def test_one_message_waits(self) -> None:
        found = seen(statuses.STALE, replace(INPUT, messages=1))
        assert found.why.startswith("Nothing is routed; 1 message waits in in.")

    def test_how_many_wait_is_not_known_until_each_queue_was_seen(self) -> None:
        unseen = QueueStatus("input", "in-2")
        found = seen(statuses.STALE, INPUT, unseen)
        assert found.why.startswith("Nothing is routed. No message is lost: messages wait")
