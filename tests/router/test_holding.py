"""When held messages are looked at again, with a queue that is played by hand."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from broker.amqp import Held
from broker.core.agent import Agent
from broker.router.holding import Holding
from tests.lab.autojump import autojump

SECONDS = 60.0
_IDLE = 0.05
ADA = Agent("ada", 0)


class HoldQueue:
    """A queue of held messages, and a router that can route none, or all of them."""

    def __init__(self, seconds: float = SECONDS, *, time_of_each: float = 0.001) -> None:
        self.holding = Holding(seconds, self.clock)
        self.waiting: deque[Held] = deque()
        self.has_receiver = False
        self.may_pass = True
        self.failed_at: list[float] = []
        self.passes = 0
        self.looks = 0
        self._time_of_each = time_of_each
        self._is_consumed = False

    def clock(self) -> int:
        return round(trio.current_time() * 1_000)

    def receive(self, held_before: Held | None = None) -> None:
        """Decide a message, new or held before."""
        if self.has_receiver:
            return
        held = self.holding.hold(held_before, None)
        if held is None:
            self.failed_at.append(trio.current_time())
        else:
            self.holding.note(held)
            self.waiting.append(held)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._consume)
            nursery.start_soon(self._run)
            yield
            nursery.cancel_scope.cancel()

    async def _run(self) -> None:
        await self.holding.run(
            may_pass=lambda: self.may_pass,
            is_consumed=lambda: self._is_consumed,
            count=lambda: len(self.waiting),
        )

    async def _consume(self) -> None:
        while True:
            await self.holding.gate.opened()
            self.passes += 1
            self._is_consumed = True
            while self.holding.gate.is_open:
                if self.waiting:
                    self.looks += 1
                    held = self.waiting.popleft()
                    self.holding.seen(held)
                    self.receive(held)
                await trio.sleep(self._time_of_each if self.waiting else _IDLE)
            self._is_consumed = False


@autojump
async def test_nothing_is_looked_at_while_nothing_is_held() -> None:
    queue = HoldQueue()
    async with queue.at_work():
        for _ in range(100):
            queue.holding.arrived(ADA)
            await trio.sleep(1)
    assert queue.passes == 0


@autojump
async def test_messages_leave_as_soon_as_somebody_comes() -> None:
    queue = HoldQueue()
    async with queue.at_work():
        for _ in range(20):
            queue.receive()
        await trio.sleep(10)
        queue.has_receiver = True
        queue.holding.arrived(ADA)
        await trio.sleep(1)
        assert not queue.waiting


@autojump
async def test_each_fails_when_its_time_is_over() -> None:
    queue = HoldQueue()
    received_at = []
    async with queue.at_work():
        for _ in range(30):
            received_at.append(trio.current_time())
            queue.receive()
            await trio.sleep(0.7)
        await trio.sleep(SECONDS)
    assert not queue.waiting
    late = [
        failed - received - SECONDS
        for failed, received in zip(queue.failed_at, received_at, strict=True)
    ]
    assert min(late) >= 0
    assert max(late) <= 1.5, "a second, and a pass"


@autojump
async def test_messages_from_before_the_start_are_looked_at() -> None:
    queue = HoldQueue()
    queue.waiting.extend(Held(40_000, 0, "another broker's") for _ in range(10))
    async with queue.at_work():
        await trio.sleep(41.5)
    assert len(queue.failed_at) == 10


@autojump
async def test_messages_that_another_broker_held_and_nobody_else_knows_are_looked_at() -> None:
    queue = HoldQueue()
    async with queue.at_work():
        await trio.sleep(30)
        due = queue.clock() + round(SECONDS * 1_000)
        queue.waiting.append(Held(due, queue.clock(), "another broker's"))
        await trio.sleep(SECONDS + 1.5)
    assert len(queue.failed_at) == 1


@autojump
async def test_what_comes_back_to_the_queue_after_a_pass_is_looked_at_soon() -> None:
    queue = HoldQueue(seconds=600)
    queue.has_receiver = True
    async with queue.at_work():
        queue.waiting.append(Held(600_000, 0, "ours"))
        await trio.sleep(5)
        assert queue.passes == 1
        # A broker had it when it died, and RabbitMQ has only now noticed that.
        queue.waiting.append(Held(600_000, 0, "a dead broker's"))
        await trio.sleep(7)
    assert not queue.waiting


@autojump
async def test_passes_over_many_that_stay_leave_nearly_all_the_time_to_others() -> None:
    queue = HoldQueue(seconds=600)
    async with queue.at_work():
        for _ in range(1_000):
            queue.receive()
        await trio.sleep(300)
    assert queue.passes < 20


@autojump
async def test_agents_that_come_all_the_time_do_not_make_it_spin() -> None:
    queue = HoldQueue()
    async with queue.at_work():
        for _ in range(100):
            queue.receive()
        for _ in range(1_000):
            queue.holding.arrived(ADA)  # who cannot receive any of them
            await trio.sleep(0.01)
    took = 100 * 0.001
    assert queue.passes <= 10 / (2 * took) + 1
    # A pass ends with the first message that it has put back itself.
    assert queue.looks <= queue.passes * 105


@autojump
async def test_no_pass_begins_while_nothing_can_be_published() -> None:
    queue = HoldQueue()
    queue.may_pass = False
    async with queue.at_work():
        queue.receive()
        queue.holding.arrived(ADA)
        await trio.sleep(2 * SECONDS)
        assert queue.passes == 0
        queue.may_pass = True
        await trio.sleep(2)
    assert len(queue.failed_at) == 1


@autojump
async def test_a_shorter_time_also_holds_for_what_was_held_before() -> None:
    await trio.sleep(20)
    long, shorter, off = (HoldQueue(seconds).holding for seconds in (600, 30, 0))
    held = long.hold(None, "5000")
    assert held == Held(620_000, 20_000, "", "5000")
    assert shorter.hold(held, None) == Held(50_000, 20_000, "", "5000")
    assert off.hold(held, None) is off.hold(None, None) is None
    await trio.sleep(30)
    assert long.hold(held, None) == held
    assert shorter.hold(held, None) is None
