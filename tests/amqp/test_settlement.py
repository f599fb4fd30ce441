"""What is acknowledged, and when: the window by itself, and as a session uses it."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import takewhile

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from broker.amqp.delivery import DeadLetterAddress, Delivery, Settlement, SettlementObserver
from broker.amqp.settlement import SettlementWindow
from broker.amqp.wire.publishing import Publishing
from tests.amqp.fake_rabbitmq import FakeRabbitmq, Published
from tests.amqp.in_asyncio import SkippingLoop

OUTPUT, LETTERS, EXCHANGE = "output", "letters", "exchange"
# Longer than any pause between two tries.
LONG_AGO = 60.0
CALM_TURNS = 12
MOST_TURNS = 10_000


def window_of(count: int, *settled: int) -> SettlementWindow:
    window = SettlementWindow()
    window.begin_batch(1, 1.0)
    for tag in range(1, count + 1):
        window.add(tag)
    for tag in settled:
        window.settle(tag)
    return window


@given(st.permutations(range(1, 12)))
def test_acknowledges_up_to_the_first_unsettled_delivery(order: list[int]) -> None:
    window = window_of(len(order))
    settled: set[int] = set()
    acknowledged = 0
    for tag in order:
        window.settle(tag)
        settled.add(tag)
        run = acknowledged
        while run + 1 in settled:
            run += 1
        assert window.take_acknowledgeable() == ([(run, True)] if run > acknowledged else [])
        acknowledged = run
        assert len(window) == len(order) - acknowledged
    assert window.take_acknowledgeable() == []


def test_what_is_on_hold_holds_up_no_other_and_is_acknowledged_alone() -> None:
    window = window_of(6, 1, 3, 4)
    assert window.take_acknowledgeable() == [(1, True)]
    window.hold(2)
    assert window.take_acknowledgeable() == [(3, False), (4, False)]
    assert (len(window), window.on_hold) == (3, 1)
    for tag in (2, 5, 6):
        window.settle(tag)
    # RabbitMQ would close the channel if the second were acknowledged once more.
    assert window.take_acknowledgeable() == [(6, True)]
    assert (len(window), window.on_hold) == (0, 0)


def test_what_a_later_delivery_overtook_is_put_on_hold() -> None:
    window = window_of(5, 2, 4)
    window.hold_overtaken()
    assert window.on_hold == 2
    assert window.take_acknowledgeable() == [(2, False), (4, False)]
    assert window.oldest == 5


def test_the_oldest_has_been_there_since_its_batch_arrived() -> None:
    window = SettlementWindow()
    for first, at in ((1, 10.0), (3, 20.0), (5, 30.0)):
        window.begin_batch(first, at)
        window.add(first)
        window.add(first + 1)

    def settled(*tags: int) -> float | None:
        for tag in tags:
            window.settle(tag)
        window.take_acknowledgeable()
        return window.oldest_since

    assert settled() == 10.0
    assert settled(1) == 10.0
    assert settled(2, 3) == 20.0
    window.hold(4)
    assert settled(5) == 20.0, "it is on hold, and not acknowledged"
    assert settled(4) == 30.0
    assert settled(6) is None


def test_what_is_on_hold_for_long_costs_no_memory_for_those_that_overtake_it() -> None:
    window = SettlementWindow()
    for tag in range(1, 1_000):
        window.begin_batch(tag, float(tag))
        window.add(tag)
        if tag == 5:
            window.hold(tag)
        else:
            window.settle(tag)
        window.take_acknowledgeable()
        assert len(window._batches) <= 1  # noqa: SLF001 - it is what would grow
    assert window.oldest_since == 5.0


@given(st.data())
def test_each_delivery_is_acknowledged_exactly_once(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    window, settled = window_of(count), set[int]()
    unsettled = list(range(1, count + 1))
    unacknowledged = set(unsettled)
    while unacknowledged:
        if unsettled:
            tag = data.draw(st.sampled_from(unsettled))
            if data.draw(st.booleans()):
                window.hold(tag)
            else:
                unsettled.remove(tag)
                settled.add(tag)
                window.settle(tag)
            if data.draw(st.booleans()):
                window.hold_overtaken()
        for tag, multiple in window.take_acknowledgeable():
            assert tag in unacknowledged
            covered = {one for one in unacknowledged if one == tag or (multiple and one < tag)}
            assert covered <= settled
            unacknowledged -= covered
        assert len(window) == len(unacknowledged)


class ConsumerUnderTest:
    """The consumer and the publisher of a session on real channels of aiormq.

    Another implementation of them goes through the same machine behind these methods.
    """

    def __init__(self) -> None:
        self.handed_out: list[Delivery] = []
        self.complaints: list[str] = []
        self._loop = SkippingLoop()
        self._loop.set_exception_handler(lambda _, what: self.complaints.append(str(what)))
        self._loop.run_until_complete(self._open())
        self.turn()

    def turn(self) -> None:
        """Let the event loop run until nothing happens any more."""
        calm, before = 0, -1
        for _ in range(MOST_TURNS):
            if calm == CALM_TURNS:
                return
            self._loop.run_until_complete(asyncio.sleep(0))
            now = self.rabbitmq.events + len(self.handed_out)
            calm, before = (calm + 1, before) if now == before else (0, now)
        raise AssertionError("it does not come to rest")

    def pass_time(self) -> None:
        self._loop.now += LONG_AGO
        self.turn()

    def publish(self, settlements: Sequence[Settlement]) -> None:
        self._loop.call_soon(self._consumer.publish, settlements)
        self.turn()

    @property
    def is_drained(self) -> bool:
        drained = self._loop.create_task(self._consumer.drained())
        self.turn()
        return drained.done() or not drained.cancel()

    def stop_reading(self) -> None:
        """Let RabbitMQ take nothing any more from the socket."""
        self._serving.cancel()
        self.turn()

    def end(self) -> None:
        """End the tasks of the session, while the connection is there for a moment longer."""
        self._hosting.cancel()
        self.turn()

    def close(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.wait(tasks))
        self._loop.close()

    async def _open(self) -> None:
        self.rabbitmq = FakeRabbitmq()
        self._serving = asyncio.create_task(self.rabbitmq.serve())
        opened = asyncio.Event()
        self._hosting = asyncio.create_task(self._host(opened))
        await opened.wait()

    async def _host(self, opened: asyncio.Event) -> None:
        self.told = Told()
        async with asyncio.TaskGroup() as tasks:
            self._consumer = self.rabbitmq.consumer(self.rabbitmq.publisher(), tasks, self.told)
            await self._consumer.start(self.handed_out.extend)
            opened.set()
            await asyncio.get_running_loop().create_future()


class Told(SettlementObserver):
    """Notes what was confirmed."""

    def __init__(self) -> None:
        self.tags: list[int] = []

    def dead_lettering(self, _: object, letter: Publishing, reason: str) -> Publishing:
        assert reason == "unroutable"
        return letter

    def confirmed(self, trace: object) -> None:
        assert isinstance(trace, int)
        self.tags.append(trace)


class SettlingMachine(RuleBasedStateMachine):
    """Deliveries come, are settled in any order, and their publishings meet any fate."""

    @initialize()
    def open(self) -> None:
        self.consumer = ConsumerUnderTest()
        self.rabbitmq = self.consumer.rabbitmq
        self.delivered: list[int] = []
        self.unsettled: list[Delivery] = []
        self.acknowledgeable: set[int] = set()
        self.on_hold: set[int] = set()
        self.acknowledged: list[int] = []
        self.first_publishings: list[bytes] = []
        self.with_second_choice: set[int] = set()
        self.came_back: set[tuple[str, bytes]] = set()
        self.unconfirmed_parts: dict[int, int] = {}

    @rule(count=st.integers(1, 6))
    def deliver(self, count: int) -> None:
        numbers = range(len(self.delivered) + 1, len(self.delivered) + count + 1)
        tags = [self.rabbitmq.deliver(str(number).encode()) for number in numbers]
        self.consumer.turn()
        arrived = self.consumer.handed_out[len(self.delivered) :]
        assert [delivery.tag for delivery in arrived] == tags
        self.delivered += tags
        self.unsettled += arrived

    @precondition(lambda self: self.unsettled)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        order = data.draw(st.permutations(self.unsettled), label="order")
        chosen = order[: data.draw(st.integers(1, len(order)), label="how many")]
        self.unsettled = [one for one in self.unsettled if one not in chosen]
        self.consumer.publish([self.settlement(one, data) for one in chosen])

    def settlement(self, delivery: Delivery, data: st.DataObject) -> Settlement:
        settlement = self.settlement_by_itself(delivery, data)
        if data.draw(st.booleans(), label="announcement"):
            body = str(delivery.tag).encode()
            announcement = Publishing("", body, "", exchange=EXCHANGE)
            settlement = msgspec.structs.replace(settlement, announcement=announcement)
        if settlement.publishing is not None:
            self.first_publishings.append(settlement.publishing.body)
        self.unconfirmed_parts[delivery.tag] = sum(
            part is not None for part in (settlement.announcement, settlement.publishing)
        )
        self.acknowledgeable_if_all_is_confirmed(delivery.tag)
        return settlement

    def acknowledgeable_if_all_is_confirmed(self, tag: int) -> None:
        if not self.unconfirmed_parts[tag]:
            self.acknowledgeable.add(tag)

    def settlement_by_itself(self, delivery: Delivery, data: st.DataObject) -> Settlement:
        if data.draw(st.booleans(), label="nothing to publish"):
            return Settlement(delivery, trace=delivery.tag)
        body = str(delivery.tag).encode()
        fallback = None
        if data.draw(st.booleans(), label="second choice"):
            self.with_second_choice.add(delivery.tag)
            fallback = DeadLetterAddress(LETTERS, "")
        return Settlement(
            delivery,
            Publishing(OUTPUT, body, ""),
            fallback=fallback,
            trace=delivery.tag,
        )

    @property
    def unconfirmed(self) -> list[int]:
        return list(self.rabbitmq.unconfirmed)

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data(), multiple=st.booleans())
    def confirm(self, data: st.DataObject, multiple: bool) -> None:
        self.taken(self.rabbitmq.confirm(self.some_unconfirmed(data), multiple=multiple))

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data(), multiple=st.booleans())
    def refuse(self, data: st.DataObject, multiple: bool) -> None:
        for refused in self.rabbitmq.refuse(self.some_unconfirmed(data), multiple=multiple):
            self.came_back.discard((refused.queue, refused.body))
            self.on_hold.add(int(refused.body))
        before = len(self.rabbitmq.published)
        self.consumer.turn()
        assert len(self.rabbitmq.published) == before  # not without a pause

    @precondition(lambda self: self.unconfirmed)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        number = self.some_unconfirmed(data)
        published = self.rabbitmq.unconfirmed[number]
        if published.exchange:
            return  # it is not mandatory
        key = (published.queue, published.body)
        is_last_choice = (
            published.queue == LETTERS or int(published.body) not in self.with_second_choice
        )
        if key in self.came_back and is_last_choice:
            return  # this would end the session
        self.rabbitmq.give_back(number)
        self.came_back.add(key)
        self.on_hold.add(int(published.body))
        self.consumer.turn()

    @rule()
    def pass_time(self) -> None:
        self.consumer.pass_time()

    def some_unconfirmed(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(self.unconfirmed), label="number")

    def taken(self, published: list[Published]) -> None:
        for one in published:
            self.unconfirmed_parts[int(one.body)] -= 1
            self.acknowledgeable_if_all_is_confirmed(int(one.body))
        self.consumer.turn()

    @invariant()
    def acknowledges_all_it_may_and_nothing_else(self) -> None:
        for tag, multiple in self.rabbitmq.acknowledgements:
            assert tag in self.delivered
            covered = [one for one in self.delivered if one <= tag] if multiple else [tag]
            new = [one for one in covered if one not in self.acknowledged]
            assert tag in new  # acknowledged once
            self.acknowledged += new
        self.rabbitmq.acknowledgements.clear()
        assert set(self.acknowledged) <= self.acknowledgeable
        passed = takewhile((self.acknowledgeable | self.on_hold).__contains__, self.delivered)
        assert set(self.acknowledged) >= set(passed) & self.acknowledgeable
        # Those on hold are acknowledged wherever they are; others have no such way.
        last = next((tag for tag in self.delivered if tag not in self.acknowledged), 0)
        behind = [tag for tag in self.acknowledged if last and tag > last]
        assert not behind or self.on_hold
        assert self.consumer.complaints == []

    @invariant()
    def tells_once_what_is_settled(self) -> None:
        assert sorted(self.consumer.told.tags) == sorted(self.acknowledgeable)

    @invariant()
    def publishes_first_what_was_settled_first(self) -> None:
        first = dict.fromkeys(
            published.body for published in self.rabbitmq.published if published.queue == OUTPUT
        )
        assert list(first) == self.first_publishings

    def teardown(self) -> None:
        if not hasattr(self, "consumer"):
            return
        try:
            self.acknowledgeable.update(delivery.tag for delivery in self.unsettled)
            self.consumer.publish([Settlement(delivery) for delivery in self.unsettled])
            for _ in range(10):
                if self.unconfirmed:
                    self.taken(self.rabbitmq.confirm(self.unconfirmed[-1], multiple=True))
                self.consumer.pass_time()
            self.acknowledges_all_it_may_and_nothing_else()
            assert sorted(self.acknowledged) == self.delivered
            assert self.consumer.is_drained
        finally:
            self.consumer.close()


TestSettling = SettlingMachine.TestCase
TestSettling.settings = settings(stateful_step_count=30)


@pytest.fixture
def consumer() -> Iterator[ConsumerUnderTest]:
    consumer = ConsumerUnderTest()
    yield consumer
    consumer.close()


def test_is_not_drained_while_a_delivery_is_unsettled(consumer: ConsumerUnderTest) -> None:
    consumer.rabbitmq.deliver(b"a")
    consumer.turn()
    assert not consumer.is_drained
    consumer.publish([Settlement(consumer.handed_out[0])])
    assert consumer.is_drained


def test_is_not_drained_before_the_acknowledgement_is_written(consumer: ConsumerUnderTest) -> None:
    consumer.rabbitmq.deliver(b"a")
    consumer.turn()
    consumer.stop_reading()
    consumer.publish([Settlement(consumer.handed_out[0])])
    assert not consumer.is_drained


def test_what_comes_after_the_end_does_no_harm(consumer: ConsumerUnderTest) -> None:
    rabbitmq = consumer.rabbitmq
    for body in (b"1", b"2", b"3"):
        rabbitmq.deliver(body)
    consumer.turn()
    consumer.publish(
        [Settlement(one, Publishing(OUTPUT, one.body, "")) for one in consumer.handed_out]
    )
    consumer.end()

    rabbitmq.refuse(1)
    rabbitmq.give_back(2)
    rabbitmq.confirm(3)
    rabbitmq.deliver(b"4")
    consumer.pass_time()
    consumer.publish([Settlement(consumer.handed_out[0])])

    assert consumer.complaints == []
    # The first is settled by now; the third, though confirmed, is behind one that is not.
    assert rabbitmq.acknowledgements == [(1, True)]
    assert len(rabbitmq.published) == 3
