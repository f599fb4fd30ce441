"""Which publishing a confirm belongs to."""

import asyncio
from collections import Counter
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from structlog.typing import EventDict

from broker.amqp import Publishing
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.wire.properties import Properties
from broker.amqp.wire.raw_properties import join_properties, short_string
from broker.telemetry.tally import PublishTally
from tests.amqp.in_asyncio import in_asyncio, in_stopped_time, passes


async def do_nothing(_: str) -> None:
    pass


class Told:
    """A publisher that writes nowhere, and what its callers are told."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.outcomes: list[tuple[str, PublishOutcome]] = []
        self.tally = PublishTally()
        tune = SimpleNamespace(frame_max=131_072)
        channel = SimpleNamespace(number=1, connection=SimpleNamespace(connection_tune=tune))
        writer = SimpleNamespace(write=self.written.append)
        self.publisher = Publisher(
            cast("Any", channel), cast("Any", writer), do_nothing, self.tally
        )

    def submit(self, *names: str, app_id: str = "me") -> None:
        self.publisher.submit(
            (Publishing("q", name.encode(), app_id), partial(self.tell, name)) for name in names
        )

    def tell(self, name: str, outcome: PublishOutcome) -> None:
        self.outcomes.append((name, outcome))

    def message_id(self, number: int) -> str:
        # Behind the content type, the delivery mode and its own length.
        at = self.written[number].index(b"application/json\x02") + len(b"application/json\x02")
        return self.written[number][at + 1 :][: self.written[number][at]].decode()


@in_asyncio
async def test_confirms_reach_those_whom_they_concern_in_order() -> None:
    told = Told()
    for name in "abcdef":
        told.submit(name)
    assert told.publisher.unconfirmed == 6
    told.publisher.confirmed(2, multiple=False, positive=True)
    told.publisher.returned(Properties(message_id=told.message_id(2)))
    told.publisher.confirmed(4, multiple=True, positive=True)
    told.publisher.confirmed(5, multiple=False, positive=False)
    told.publisher.confirmed(5, multiple=False, positive=True)  # nobody waits any more
    assert told.outcomes == [
        ("b", PublishOutcome.CONFIRMED),
        ("a", PublishOutcome.CONFIRMED),
        ("c", PublishOutcome.RETURNED),
        ("d", PublishOutcome.CONFIRMED),
        ("e", PublishOutcome.REFUSED),
    ]
    assert told.publisher.unconfirmed == 1


@in_asyncio
async def test_what_could_not_be_written_takes_no_number() -> None:
    # RabbitMQ counts what it gets. A number too many, and each confirm would go to the wrong one.
    told = Told()
    with pytest.raises(TypeError):
        told.submit("too long", app_id="x" * 256)
    told.submit("a")
    told.submit("b")
    told.publisher.confirmed(1, multiple=False, positive=True)
    assert told.outcomes == [("a", PublishOutcome.CONFIRMED)]


@in_asyncio
async def test_what_was_submitted_before_one_that_cannot_be_written_is_written() -> None:
    told = Told()
    fine, broken = Publishing("q", b"fine", "me"), Publishing("q", b"broken", "x" * 256)
    with pytest.raises(TypeError):
        told.publisher.submit((one, lambda _: None) for one in (fine, broken))
    assert told.publisher.unconfirmed == 1
    assert b"fine" in b"".join(told.written)


@in_asyncio
async def test_message_ids_are_unique() -> None:
    told = Told()
    other = Told()
    for _ in range(100):
        told.submit("a")
        other.submit("b")
    ids = {publishing.message_id(n) for n in range(100) for publishing in (told, other)}
    assert len(ids) == 200


def kept(message_id: str) -> Publishing:
    return Publishing(
        "q", b"", "me", kept=join_properties({"message_id": short_string(message_id)})
    )


@pytest.mark.parametrize("returned", [0, 1, 3])
@in_asyncio
async def test_a_message_that_keeps_its_id_is_known_by_it(returned: int) -> None:
    # An id of one's own may come back as a kept one, and is not unique then.
    told = Told()
    told.submit("first")
    ids = [told.message_id(0), "a", "b", "b"]
    for name in ids:
        told.publisher.submit([(kept(name), partial(told.tell, name))])
    told.publisher.confirmed(1, multiple=False, positive=True)
    told.publisher.returned(Properties(message_id=ids[returned]))
    told.publisher.confirmed(5, multiple=True, positive=True)
    assert told.outcomes[0] == ("first", PublishOutcome.CONFIRMED)
    # One that is published once too often is not lost.
    assert told.outcomes[1:] == [
        (name, PublishOutcome.RETURNED if name == ids[returned] else PublishOutcome.CONFIRMED)
        for name in ids
    ]


@in_asyncio
async def test_a_message_that_keeps_an_id_that_is_no_text() -> None:
    told = Told()
    odd = Publishing("q", b"", "me", kept=join_properties({"message_id": short_string(b"\xff")}))
    told.publisher.submit([(odd, partial(told.tell, "odd"))])
    told.submit("b")
    told.publisher.returned(Properties())
    told.publisher.confirmed(2, multiple=True, positive=True)
    assert told.outcomes == [("odd", PublishOutcome.RETURNED), ("b", PublishOutcome.CONFIRMED)]


@in_asyncio
async def test_a_forged_id_is_nobodys() -> None:
    told = Told()
    told.submit("a")
    prefix = told.message_id(0).removesuffix("1")
    for forged in ("", "1", f"{prefix}", f"{prefix}x", f"{prefix}7", f"{prefix}{'9' * 40}"):
        told.publisher.returned(Properties(message_id=forged))
    told.publisher.confirmed(1, multiple=False, positive=True)
    assert told.outcomes == [("a", PublishOutcome.CONFIRMED)]


@in_asyncio
async def test_only_what_is_confirmed_counts_as_published() -> None:
    told = Told()
    for name in "abcd":
        told.submit(name)
    told.publisher.returned(Properties(message_id=told.message_id(2)))
    told.publisher.confirmed(1, multiple=False, positive=True)
    told.publisher.confirmed(2, multiple=False, positive=False)
    told.publisher.confirmed(4, multiple=True, positive=True)
    assert told.tally.confirmed == 2


@in_asyncio
async def test_one_confirm_at_a_time_is_measured() -> None:
    told = Told()
    for name in "abc":
        told.submit(name)
    told.publisher.confirmed(3, multiple=False, positive=True)
    assert sum(told.tally.confirm_seconds.counts) == 0, "it is the first that is measured"
    told.publisher.confirmed(2, multiple=True, positive=True)
    assert sum(told.tally.confirm_seconds.counts) == 1
    told.submit("d")
    told.publisher.confirmed(4, multiple=False, positive=True)
    assert sum(told.tally.confirm_seconds.counts) == 2


class NotTaken:
    """Publishings that RabbitMQ did not take, and what the log tells of them."""

    def __init__(self, lines: list[EventDict]) -> None:
        self.lines = lines
        self._publisher = Told().publisher
        self._tries: list[asyncio.Future[None]] = []

    async def come(self, count: int, queue: str, outcome: PublishOutcome) -> None:
        publishing = Publishing(queue, b"{}", "me")
        self._tries += [
            asyncio.ensure_future(self._publisher.publish_again(publishing, outcome))
            for _ in range(count)
        ]
        await passes(0)

    @property
    def tries(self) -> Counter[tuple[str, str]]:
        told = Counter[tuple[str, str]]()
        for line in self.lines:
            told[line["event"], line["queue"]] += line["tries"]
        return told


@in_stopped_time
async def test_what_rabbitmq_did_not_take_is_told_at_once_and_does_not_flood_the_log() -> None:
    with structlog.testing.capture_logs() as lines:
        publishings = NotTaken(lines)
        await publishings.come(1000, "full", PublishOutcome.REFUSED)
        assert [line["event"] for line in lines] == ["publishing_refused"]
        await passes(0.9)
        await publishings.come(1, "full", PublishOutcome.REFUSED)
        await publishings.come(10, "gone", PublishOutcome.RETURNED)
        assert len(lines) == 1
        for _ in range(2):
            await passes(2)
            await publishings.come(1, "full", PublishOutcome.REFUSED)
        await passes(2)
        assert publishings.tries == {
            ("publishing_refused", "full"): 1003,
            ("publishing_returned", "gone"): 10,
        }
        assert len(lines) <= 5


@in_stopped_time
async def test_the_last_that_rabbitmq_did_not_take_are_told_too() -> None:
    with structlog.testing.capture_logs() as lines:
        publishings = NotTaken(lines)
        await publishings.come(1, "full", PublishOutcome.REFUSED)
        await publishings.come(999, "full", PublishOutcome.REFUSED)
        await passes(1.1)
        assert publishings.tries == {("publishing_refused", "full"): 1000}
