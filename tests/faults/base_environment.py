"""What each scenario runs in: its queues, the load, and the record of what comes out."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import NamedTuple

import msgspec
import trio

from broker.core.messages import AgentStatus
from tests.faults import chat
from tests.faults.broker_control import BrokerControl
from tests.faults.checker import Allowed, Sent, Verdict, check
from tests.faults.collector import Collector
from tests.faults.load import Load
from tests.faults.taken import Taken, taken
from tests.faults.trend import Sample
from tests.lab.amqp_client import AmqpClient
from tests.lab.amqp_connection import QueueState
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually
from tests.lab.raw_content import Content

PREFETCH = 200
"""What bounds the duplicates of a crash. A quarter of a second's load, so that there is a crowd."""
DRAIN_TIMEOUT = 120.0
_POLL_INTERVAL = 0.1
_CLOSE_TIMEOUT = 30.0
_DRAIN_POLL_INTERVAL = 0.2
_numbers = count(1)


class Figures(msgspec.Struct):
    """What a scenario measures on its way.

    Attributes:
        recoveries: Seconds from the end of each fault until messages were routed again.
    """

    faults: int = 0
    recoveries: list[float] = msgspec.field(default_factory=list)
    samples: list[Sample] = msgspec.field(default_factory=list)


class Queues(NamedTuple):
    """The queues of a scenario, one of each kind that a broker has a variable for."""

    input: str
    output: str
    metadata: str
    advertisement: str
    dead_letter: str
    hold: str


class BaseEnvironment:
    """What the environments of all scenarios have in common.

    Attributes:
        prefetch: How many messages a broker holds at once: with each crash, no more than
            these may come twice.
    """

    def __init__(self, urls: Sequence[str], random: Random, *, is_long: bool) -> None:
        number = next(_numbers)
        self.random = random
        self.is_long = is_long
        self.prefetch = PREFETCH
        self.sent = Sent()
        self.figures = Figures()
        self.client = AmqpClient(*urls)
        self.queues = Queues(*(f"chaos_{number}_{name}" for name in Queues._fields))
        self._urls = urls
        self._collected: defaultdict[str, list[Taken]] = defaultdict(list)
        self._collectors: set[str] = set()

    async def ctl(self, *arguments: str) -> str:
        raise NotImplementedError

    @asynccontextmanager
    async def prepared(
        self,
        server: CentralServer,
        brokers: Iterable[BrokerControl],
        **arguments: str,
    ) -> AsyncIterator[None]:
        """Bring agents online and make the queues; end the brokers and delete the queues."""
        server.update(*(AgentStatus(name, name, is_online=True) for name in chat.AGENTS))
        await self.client.declare(*self.queues, **arguments)
        try:
            yield
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                for broker in brokers:
                    await broker.close()
        await self.client.delete(*self.queues)

    async def finish(self, allowed: Allowed) -> Verdict:
        """Make the peers sound, let the brokers route what is left, stop them, and judge."""
        raise NotImplementedError

    @asynccontextmanager
    async def load(self, rate: float, *, urls: Sequence[str] | None = None) -> AsyncIterator[Load]:
        """Publish so many chat messages per second into the input queue while the block runs.

        Args:
            urls: Of RabbitMQ's nodes, all by default.
        """
        load = Load(urls or self._urls, self.queues.input, sent=self.sent, rate=rate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run)
            try:
                yield load
            finally:
                load.stop()

    async def fill(self, count: int) -> None:
        """Publish chat messages at once, much faster than the load does."""
        numbers = range(self.sent.attempted, self.sent.attempted + count)
        self.sent.attempted = numbers.stop
        contents = (Content(chat.body(number)) for number in numbers)
        await self.client.publish_content(self.queues.input, *contents)
        self.sent.confirmed.update(numbers)

    @asynccontextmanager
    async def collecting(self, queue: str) -> AsyncIterator[None]:
        """Take all that comes into a queue for the length of the block.

        So it is empty almost always. What is taken counts at the end as if it were still in it.
        """
        collector = Collector(self._urls, queue, self._collected[queue])
        self._collectors.add(queue)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collector.run)
            try:
                yield
            finally:
                collector.stop()
        self._collectors.discard(queue)

    def collected(self, queue: str) -> int:
        return len(self._collected[queue])

    def fault(self) -> None:
        self.figures.faults += 1

    async def routed(self) -> int:
        """Return how many messages the broker has published to the output queue so far."""
        output = self.queues.output
        if output in self._collectors:
            return self.collected(output)
        return await self.client.ready(output) + self.collected(output)

    async def routing(self, *, within: float = 30.0, since: float | None = None) -> None:
        """Wait until a message comes out. There must be some to route.

        Args:
            since: When the fault ended, by Trio's clock: the time from then on counts as a time
                to recover, and `within` begins then.
        """
        begun = trio.current_time() if since is None else since
        with trio.move_on_at(begun + within) as waiting:
            before = await self.routed()
            while await self.routed() <= before:
                await trio.sleep(_POLL_INTERVAL)
        assert not waiting.cancelled_caught, f"no message was routed within {within:g} s"
        if since is not None:
            self.figures.recoveries.append(trio.current_time() - since)

    async def drained(self, within: float = DRAIN_TIMEOUT) -> None:
        """Wait until the broker consumes and has left no messages, ready or unacknowledged."""

        async def state() -> tuple[QueueState, int | None]:
            seen = await self.client.look(self.queues.input)
            if not seen.consumers or seen.ready:
                return seen, None
            return seen, await self.unsettled(self.queues.input)

        await eventually(
            state,
            "input queue consumed, empty, and all of it acknowledged",
            until=lambda seen: seen[1] == 0,
            within=within,
            interval=_DRAIN_POLL_INTERVAL,
        )

    async def unacknowledged(self, queue: str) -> int:
        return await self._listed(queue, "messages_unacknowledged")

    async def unsettled(self, queue: str) -> int:
        """Count what is ready and what is unacknowledged, in one look: both turn into the other."""
        return await self._listed(queue, "messages")

    async def _listed(self, queue: str, figure: str) -> int:
        listed = await self.ctl("list_queues", "name", figure)
        by_queue = dict(line.split("\t") for line in listed.splitlines())
        return int(by_queue[queue])

    async def judged(self, allowed: Allowed) -> Verdict:
        """Take what came out so far, and judge. No broker may publish meanwhile."""
        for queue in (self.queues.output, self.queues.dead_letter):
            self._collected[queue] += map(taken, await self.client.take_all(queue))
        verdict = check(
            self.sent,
            self._collected[self.queues.output],
            self._collected[self.queues.dead_letter],
            allowed,
        )
        if left := await self.client.ready(self.queues.input):
            verdict.problems.append(f"{left} messages were back in the input queue")
        return verdict

    def queue_settings(self) -> Mapping[str, str]:
        """Return the settings of a broker that say what it consumes and publishes to."""
        return {
            "BROKER_PREFETCH": str(self.prefetch),
            "BROKER_REGISTRY_EXCHANGE": f"{self.queues.metadata}_events",
            **{
                f"BROKER_{name.upper()}_QUEUE": queue
                for name, queue in self.queues._asdict().items()
            },
        }
