"""Confirms that do not come: from RabbitMQ, or for one queue alone."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import aiormq
import pytest

from broker.amqp.confirm_watch import ConfirmWatch
from broker.amqp.timeouts import AmqpTimeouts
from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.publishing import Publishing
from tests.amqp.fake_rabbitmq import FakeRabbitmq
from tests.amqp.in_asyncio import SkippingLoop


class Watched:
    """A publisher under watch, whose clock is put forward by hand."""

    def __init__(self, loop: SkippingLoop, timeouts: AmqpTimeouts) -> None:
        self.loop = loop
        self._timeouts = timeouts
        loop.run_until_complete(self._open())

    async def _open(self) -> None:
        self.rabbitmq = FakeRabbitmq()
        self._serving = asyncio.create_task(self.rabbitmq.serve())
        self.publisher = self.rabbitmq.publisher()
        self._watch = ConfirmWatch(self.publisher, self._timeouts)

    @property
    def overdue(self) -> int:
        return self._watch.overdue

    def publish(self, queue: str) -> None:
        self.publisher.submit([(Publishing(queue, b"x", ""), lambda _: None)])
        self.turn()

    def turn(self) -> None:
        for _ in range(10):
            self.loop.run_until_complete(asyncio.sleep(0))

    def pass_time(self, seconds: float, *, is_blocked: bool = False) -> None:
        """Let so many seconds pass, and answer what is asked unless RabbitMQ hangs."""
        self.loop.now += seconds
        self._watch.check(is_blocked=is_blocked)
        self.turn()

    async def futures_after(self, rounds: int) -> int:
        """Count the futures that exist after so many looks at a connection."""

        async def is_blocked() -> bool:
            return False

        idle: Any = SimpleNamespace(
            aiormq=aiormq.Connection("amqp://localhost/"),
            is_blocked=is_blocked,
            writer=SimpleNamespace(unsent=0),
        )
        watching = asyncio.create_task(self._watch.run(idle))
        for _ in range(rounds):  # one look in each turn
            await asyncio.sleep(0)
        gc.collect()
        found = sum(isinstance(one, asyncio.Future) for one in gc.get_objects())
        watching.cancel()
        return found

    def answer(self) -> None:
        """Give back what was published to nowhere."""
        for number, published in tuple(self.rabbitmq.unconfirmed.items()):
            if published.queue.startswith("nowhere-"):
                self.rabbitmq.give_back(number)

    def close(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.wait(tasks))


CONFIRM_TIMEOUT = AmqpTimeouts().confirm


@contextmanager
def watching(timeouts: AmqpTimeouts) -> Iterator[Watched]:
    loop = SkippingLoop()
    watched = Watched(loop, timeouts)
    yield watched
    watched.close()
    loop.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    with watching(AmqpTimeouts()) as watched:
        yield watched


def test_a_queue_that_does_not_answer_ends_no_session(watched: Watched) -> None:
    watched.publish("without a majority")
    for _ in range(10):
        watched.pass_time(CONFIRM_TIMEOUT * 0.6)
        watched.answer()
    assert watched.overdue == 1
    watched.rabbitmq.confirm(1)
    watched.pass_time(1)
    assert watched.overdue == 0
    assert watched.publisher.unconfirmed == 0


def test_a_rabbitmq_that_answers_nothing_does(watched: Watched) -> None:
    watched.publish("out")
    watched.pass_time(CONFIRM_TIMEOUT * 0.6)
    with pytest.raises(AmqpError, match="confirmed nothing for 30 s"):
        watched.pass_time(CONFIRM_TIMEOUT * 0.6)


def test_nothing_is_asked_while_confirms_come_or_an_alarm_lasts(watched: Watched) -> None:
    for _ in range(4):
        watched.publish("out")
        watched.pass_time(CONFIRM_TIMEOUT * 0.4)
        watched.rabbitmq.confirm(watched.publisher.last_number)
    watched.publish("out")
    for _ in range(4):
        watched.pass_time(CONFIRM_TIMEOUT, is_blocked=True)
    assert {published.queue for published in watched.rabbitmq.published} == {"out"}


def test_waiting_has_an_end() -> None:
    with watching(AmqpTimeouts(overdue=100.0)) as watched:
        watched.publish("without a majority")
        for _ in range(6):
            watched.pass_time(CONFIRM_TIMEOUT * 0.6)
            watched.answer()
        with pytest.raises(AmqpError, match="did not confirm messages for 100 s"):
            watched.pass_time(CONFIRM_TIMEOUT * 0.6)


def test_watching_for_long_takes_no_memory() -> None:
    with watching(AmqpTimeouts(confirm=0.0)) as watched:
        few, many = (watched.loop.run_until_complete(watched.futures_after(n)) for n in (10, 100))
    assert few == many
