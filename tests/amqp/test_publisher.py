"""Which publishing a confirm belongs to."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.amqp import Publishing
from broker.amqp.properties import Properties
from broker.amqp.publisher import Outcome, Publisher


async def do_nothing(_: str) -> None:
    pass


class Told:
    """A publisher that writes nowhere, and what its callers are told."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.outcomes: list[tuple[str, Outcome]] = []
        tune = SimpleNamespace(frame_max=131_072)
        channel = SimpleNamespace(number=1, connection=SimpleNamespace(connection_tune=tune))
        writer = SimpleNamespace(write=self.written.append)
        self.publisher = Publisher(cast("Any", channel), cast("Any", writer), do_nothing)

    def submit(self, name: str, app_id: str = "me") -> None:
        self.publisher.submit(
            Publishing("q", name.encode(), app_id),
            lambda outcome: self.outcomes.append((name, outcome)),
        )

    def message_id(self, number: int) -> str:
        # Behind the content type, the delivery mode and its own length.
        at = self.written[number].index(b"application/json\x02") + len(b"application/json\x02")
        return self.written[number][at + 1 :][: self.written[number][at]].decode()


def in_event_loop(act: Callable[[Told], None]) -> None:
    async def run() -> None:
        act(Told())

    asyncio.run(run())


def test_confirms_reach_those_whom_they_concern_in_order() -> None:
    def act(told: Told) -> None:
        for name in "abcdef":
            told.submit(name)
        assert told.publisher.unconfirmed == 6
        told.publisher.confirmed(2, multiple=False, positive=True)
        told.publisher.returned(Properties(message_id=told.message_id(2)))
        told.publisher.confirmed(4, multiple=True, positive=True)
        told.publisher.confirmed(5, multiple=False, positive=False)
        told.publisher.confirmed(5, multiple=False, positive=True)  # nobody waits any more
        assert told.outcomes == [
            ("b", Outcome.CONFIRMED),
            ("a", Outcome.CONFIRMED),
            ("c", Outcome.RETURNED),
            ("d", Outcome.CONFIRMED),
            ("e", Outcome.REFUSED),
        ]
        assert told.publisher.unconfirmed == 1

    in_event_loop(act)


def test_what_could_not_be_written_takes_no_number() -> None:
    # RabbitMQ counts what it gets. A number too many, and each confirm would go to the wrong one.
    def act(told: Told) -> None:
        with pytest.raises(TypeError):
            told.submit("too long", app_id="x" * 256)
        told.submit("a")
        told.submit("b")
        told.publisher.confirmed(1, multiple=False, positive=True)
        assert told.outcomes == [("a", Outcome.CONFIRMED)]

    in_event_loop(act)


def test_message_ids_are_unique() -> None:
    def act(told: Told) -> None:
        other = Told()
        for _ in range(100):
            told.submit("a")
            other.submit("b")
        ids = {publishing.message_id(n) for n in range(100) for publishing in (told, other)}
        assert len(ids) == 200

    in_event_loop(act)
