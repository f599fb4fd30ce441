"""Held messages among brokers that die and agents that come and go: none is lost, or too late.

Routers and what holds messages are real; the queues, and the brokers around them, are played here.
"""

import json
from collections import deque
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import NamedTuple

import pytest
import trio
from trio.testing import MockClock

from broker.amqp import Deliveries, Delivery, Held, Publishing, Refusals, Settlement
from broker.amqp.wire.held import held_of
from broker.concurrency.wakeup import Gate, Wakeup
from broker.core.messages import AgentStatus, ServerAvailable, StatusUpdate
from broker.router.holding import Holding
from broker.router.mailbox import Mailbox
from broker.router.rules import Limits
from broker.router.task import Router
from broker.telemetry.tally import MessageTally
from tests.router.samples import QUEUES, chat

AGENTS = ("ada", "bob", "cy")
HOLD = 20.0
PREFETCH = 5
IDLE = 0.05
"""Seconds until a consumer without messages looks for some."""
LATE = 1.0 + 1.0
"""Seconds: what is promised, and a pass, which takes time as everything here does."""


class Item(NamedTuple):
    """A message in a queue."""

    number: int
    body: bytes
    held: Held | None = None


class Outcome(NamedTuple):
    number: int
    receiver_id: str
    at: float


class Node:
    """RabbitMQ, as far as it matters."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Item]] = {"in": deque(), QUEUES.held: deque()}
        self.outcomes: list[Outcome] = []
        self.online: set[str] = set()

    def publish(self, publishing: Publishing) -> None:
        message = json.loads(publishing.body)
        if publishing.queue == QUEUES.held:
            held = held_of(publishing.headers)
            assert held is not None
            item = Item(int(message["message_id"]), publishing.body, held)
            self.queues[QUEUES.held].append(item)
        else:
            number = int(message.get("original_message_id", message["message_id"]))
            self.outcomes.append(Outcome(number, message["receiver_id"], trio.current_time()))


class Broker:
    """A broker that can die at any moment, and what RabbitMQ knows of it."""

    def __init__(self, node: Node, random: Random) -> None:
        self.scope = trio.CancelScope()
        self.unacknowledged: dict[int, tuple[str, Item]] = {}
        self._node = node
        self._random = random
        self._last_tag = 0
        self._is_consuming_held = False
        self._decided: deque[Settlement] = deque()
        self._has_decided = Wakeup()
        self._mailbox = Mailbox(("in",), QUEUES.held)
        self._consumption = Gate()
        self._holding = Holding(HOLD, lambda: round(trio.current_time() * 1_000))
        self._router = Router(
            topology=QUEUES,
            broker_id="broker",
            limits=Limits(10_000, max_agents=10),
            refusals=Refusals(),
            tally=MessageTally(),
            registry_ttl=0,
            consumption=self._consumption,
            central=self,
            holding=self._holding,
        )

    def want_status(self) -> None:
        pass

    def status_answered(self) -> None:
        pass

    def server_available(self, advertisement: ServerAvailable) -> None:
        pass

    async def run(self) -> None:
        with self.scope:
            async with trio.open_nursery() as nursery:
                hold = partial(
                    self._holding.run,
                    may_pass=lambda: self._consumption.is_open,
                    is_consumed=lambda: self._is_consuming_held,
                    count=lambda: len(self._node.queues[QUEUES.held]),
                )
                nursery.start_soon(self._router.run, self._mailbox, hold)
                nursery.start_soon(self._listen)
                nursery.start_soon(self._consume, "in")
                nursery.start_soon(self._consume, QUEUES.held)
                nursery.start_soon(self._settle)
        for queue, item in reversed(self.unacknowledged.values()):
            self._node.queues[queue].appendleft(item)
        self.unacknowledged.clear()

    async def _listen(self) -> None:
        """Hear of the agents, each time a while after they have changed."""
        heard: set[str] | None = None
        while True:
            if heard != self._node.online:
                heard = set(self._node.online)
                statuses = {name: AgentStatus(name, is_online=True) for name in heard}
                await self._mailbox.send_news.send(StatusUpdate(statuses, is_full=True))
            await trio.sleep(self._random.uniform(0, 0.5))

    async def _consume(self, queue: str) -> None:
        gate = self._consumption if queue == "in" else self._holding.gate
        while True:
            await gate.opened()
            self._is_consuming_held |= queue != "in"
            while gate.is_open:
                waiting = self._node.queues[queue]
                mine = sum(one == queue for one, _ in self.unacknowledged.values())
                if waiting and mine < PREFETCH:
                    self._deliver(queue, waiting.popleft())
                    await trio.sleep(self._random.uniform(0, 0.002))
                else:
                    await trio.sleep(IDLE)
            self._is_consuming_held &= queue == "in"

    def _deliver(self, queue: str, item: Item) -> None:
        self._last_tag += 1
        self.unacknowledged[self._last_tag] = queue, item
        delivery = Delivery(queue, self._last_tag, item.body, held=item.held)
        self._mailbox.deliver(Deliveries(queue, [delivery], self._publish))

    def _publish(self, settlements: Sequence[Settlement]) -> None:
        self._decided.extend(settlements)
        self._has_decided.set()

    async def _settle(self) -> None:
        """Publish what was decided; a broker that dies may do so without acknowledging it."""
        while True:
            await self._has_decided.wait()
            while self._decided:
                settlement = self._decided.popleft()
                assert settlement.publishing is not None
                self._node.publish(settlement.publishing)
                await trio.sleep(self._random.uniform(0, 0.001))
                del self.unacknowledged[settlement.delivery.tag]


class Storm:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.node = Node()
        self.brokers: list[Broker] = []
        self.published_at: list[float] = []
        self.deaths = 0

    async def rage(self, brokers: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(brokers):
                self._start(nursery)
            for _ in range(150):
                await trio.sleep(self.random.expovariate(10))
                self._do_something(nursery)
                self._nothing_is_lost()
            # Whoever is still there when the storm is over learns of everybody.
            self.node.online = set(AGENTS)
            with trio.fail_after(HOLD):
                while self._numbers_under_way():
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    def _start(self, nursery: trio.Nursery) -> None:
        broker = Broker(self.node, self.random)
        self.brokers.append(broker)
        nursery.start_soon(broker.run)

    def _do_something(self, nursery: trio.Nursery) -> None:
        dice = self.random.random()
        if dice < 0.6:
            number = len(self.published_at)
            self.published_at.append(trio.current_time())
            body = chat("somebody", message_id=str(number))
            self.node.queues["in"].append(Item(number, body))
        elif dice < 0.65:
            self.deaths += 1
            self.brokers.pop(self.random.randrange(len(self.brokers))).scope.cancel()
            self._start(nursery)
        elif dice < 0.7:
            self.node.online = set()
        else:
            self.node.online ^= {self.random.choice(AGENTS)} if dice < 0.75 else set()

    def _numbers_under_way(self) -> set[int]:
        waiting = {item.number for queue in self.node.queues.values() for item in queue}
        held = (broker.unacknowledged.values() for broker in self.brokers)
        return waiting | {item.number for some in held for _, item in some}

    def _nothing_is_lost(self) -> None:
        come_out = {outcome.number for outcome in self.node.outcomes}
        dying = len(self.published_at) - len(come_out | self._numbers_under_way())
        # One that was told to die a moment ago puts back what it has as soon as it runs.
        assert dying <= 2 * PREFETCH


def outcomes_of(storm: Storm) -> Sequence[list[Outcome]]:
    by_number: list[list[Outcome]] = [[] for _ in storm.published_at]
    for outcome in storm.node.outcomes:
        by_number[outcome.number].append(outcome)
    return by_number


@pytest.mark.parametrize("brokers", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_each_message_comes_out_routed_or_failed_in_time(seed: int, brokers: int) -> None:
    storm = Storm(seed)
    trio.run(storm.rage, brokers, clock=MockClock(autojump_threshold=0))
    repeated = 0
    for published_at, outcomes in zip(storm.published_at, outcomes_of(storm), strict=True):
        assert outcomes
        repeated += len(outcomes) - 1
        for outcome in outcomes:
            if outcome.receiver_id == "Server":
                assert outcome.at - published_at >= HOLD
            else:
                assert outcome.receiver_id in AGENTS
            if not storm.deaths:
                assert outcome.at - published_at <= HOLD + LATE
    # Those that died had published as much without having acknowledged it.
    assert repeated <= storm.deaths * 2 * PREFETCH
