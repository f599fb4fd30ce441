"""Where a scenario takes place: RabbitMQ, the server, the broker between two proxies, the load."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from yarl import URL

from broker.dispatch import QueueNames
from broker.messages import AgentStatus
from broker.sandbox.central_server import CentralServer, open_central_server
from broker.sandbox.rabbitmq import RabbitmqNode
from chaos import chat
from chaos.broker_control import BrokerControl
from chaos.checker import Allowed, Sent, Taken, Verdict, check
from chaos.collector import Collector
from chaos.failure import ScenarioFailedError
from chaos.load import Load
from chaos.process_usage import Usage, usage
from chaos.proxy import Proxy, open_proxy
from chaos.queue_client import QueueClient
from chaos.raw_content import Content
from chaos.trend import Sample

PREFETCH = 200
"""What bounds the duplicates of a crash. A quarter of a second's load, so that there is a crowd."""
DRAIN_TIMEOUT = 120.0
_POLL_INTERVAL = 0.1
_DRAIN_POLL_INTERVAL = 0.2
_CLOSE_TIMEOUT = 30.0
_numbers = count(1)


class Figures(msgspec.Struct):
    """What a scenario measures on its way.

    Attributes:
        faults: How many faults were injected.
        recoveries: Seconds from the end of each fault until messages were routed again.
        samples: What the broker held over time, when the scenario watched that.
    """

    faults: int = 0
    recoveries: list[float] = msgspec.field(default_factory=list)
    samples: list[Sample] = msgspec.field(default_factory=list)


class Arena:
    """One scenario's surroundings. Made by `open_arena`.

    Attributes:
        node: RabbitMQ. A scenario that stops it, or changes more than its own queues, asks for a
            node of its own in the table of scenarios.
        server: The stand-in central server; `chat.AGENTS` are online.
        amqp: The proxy between the broker and RabbitMQ.
        websocket: The proxy between the broker and the server.
        broker: The broker, not started yet.
        client: Makes, watches and empties queues, past the proxies.
        queues: The names of this scenario's queues; all of them exist.
        sent: What the load has sent.
        figures: What was measured so far.
        random: The source of all that is random here.
        is_long: Whether the long form is to be played.
        prefetch: How many messages the broker holds at once: with each crash, no more than
            these may come twice.
    """

    def __init__(
        self,
        *,
        node: RabbitmqNode,
        server: CentralServer,
        amqp: Proxy,
        websocket: Proxy,
        portal: BlockingPortal,
        directory: Path,
        random: Random,
        is_long: bool,
    ) -> None:
        number = next(_numbers)
        self.node = node
        self.server = server
        self.amqp = amqp
        self.websocket = websocket
        self.random = random
        self.is_long = is_long
        self.prefetch = PREFETCH
        self.sent = Sent()
        self.figures = Figures()
        self.client = QueueClient(portal, node.url)
        self.queues = QueueNames(
            **{name: f"chaos_{number}_{name}" for name in QueueNames.__struct_fields__}
        )
        self.broker = BrokerControl(directory, self._settings())
        self._portal = portal
        self._collected: defaultdict[str, list[Taken]] = defaultdict(list)
        self._collectors: set[str] = set()

    @asynccontextmanager
    async def load(self, rate: float | None = None, *, window: int = 500) -> AsyncIterator[Load]:
        """Publish chat messages into the input queue for the length of the block.

        Args:
            rate: Messages per second; None for as many as the window allows.
            window: How many may wait for their confirms.
        """
        load = Load(
            self._portal,
            self.node.url,
            self.queues.input,
            sent=self.sent,
            rate=rate,
            window=window,
        )
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
        contents = [Content(chat.body(number)) for number in numbers]
        await self.client.publish(self.queues.input, contents)
        self.sent.confirmed.update(numbers)

    @asynccontextmanager
    async def collecting(self, queue: str) -> AsyncIterator[None]:
        """Take all that comes into a queue for the length of the block.

        So it is empty almost always. What is taken counts at the end as if it were still in it.
        """
        collector = Collector(self._portal, self.node.url, queue, self._collected[queue])
        self._collectors.add(queue)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collector.run)
            try:
                yield
            finally:
                collector.stop()
        self._collectors.discard(queue)

    def collected(self, queue: str) -> int:
        """Return how many messages were taken out of a queue so far; see `collecting`."""
        return len(self._collected[queue])

    def fault(self) -> None:
        """Count a fault that is injected."""
        self.figures.faults += 1

    async def routed(self) -> int:
        """Return how many messages the broker has published to the output queue so far.

        Raises:
            ConnectionError: RabbitMQ is away.
        """
        output = self.queues.output
        if output in self._collectors:
            return self.collected(output)
        return (await self.client.look(output)).ready + self.collected(output)

    async def routing(self, *, within: float = 30.0, since: float | None = None) -> None:
        """Wait until a message comes out. There must be some to route.

        Args:
            within: Seconds until it is too late.
            since: When the fault ended, by Trio's clock: the time from then on counts as a time
                to recover, and `within` begins then.

        Raises:
            ScenarioFailedError: Nothing came out.
        """
        begun = trio.current_time() if since is None else since
        with trio.move_on_at(begun + within):
            before = await self.routed()
            while await self.routed() <= before:  # noqa: ASYNC110 - another process has no event
                await trio.sleep(_POLL_INTERVAL)
            if since is not None:
                self.figures.recoveries.append(trio.current_time() - since)
            return
        raise ScenarioFailedError(f"no message was routed within {within:g} s")

    async def linked(self, *, within: float = 30.0) -> None:
        """Wait until the broker answers the server.

        Args:
            within: Seconds until it is too late.

        Raises:
            ScenarioFailedError: It does not.
        """
        answers = self._answers()
        with trio.move_on_after(within):
            while self._answers() == answers:
                self.server.send({"message_type": "PING"})
                await trio.sleep(_POLL_INTERVAL)
            return
        raise ScenarioFailedError(f"the broker did not answer the server within {within:g} s")

    async def drained(self, within: float = DRAIN_TIMEOUT) -> None:
        """Wait until the broker consumes and has left no messages, ready or unacknowledged.

        Args:
            within: Seconds until it is too late.

        Raises:
            ScenarioFailedError: Some are still in the input queue, or nobody consumes it.
        """
        ready, consumers, unacknowledged = 0, 0, 0
        with trio.move_on_after(within):
            while True:
                ready, consumers = await self.client.look(self.queues.input)
                if consumers and not ready:
                    unacknowledged = await self.unacknowledged(self.queues.input)
                    if not unacknowledged:
                        return
                await trio.sleep(_DRAIN_POLL_INTERVAL)
        raise ScenarioFailedError(
            f"after {within:g} s the input queue has {consumers} consumers, {ready} messages that "
            f"are ready and {unacknowledged} that are unacknowledged"
        )

    async def unacknowledged(self, queue: str) -> int:
        """Return how many messages of a queue are with its consumers. Takes a second."""
        listed = await self.node.ctl("list_queues", "name", "messages_unacknowledged")
        by_queue = dict(line.split("\t") for line in listed.splitlines())
        return int(by_queue[queue])

    def usage(self) -> Usage:
        """Return what the broker's process holds now."""
        return usage(self.broker.pid)

    async def finish(self, allowed: Allowed) -> Verdict:
        """Make the peers sound, let the broker route what is left, stop it, and judge.

        Args:
            allowed: What the scenario may lead to.

        Raises:
            ScenarioFailedError: The broker did not route what was left, or did not stop as asked.
        """
        self.amqp.heal()
        self.websocket.heal()
        self.server.accepting = True
        await self.node.resume()
        if self.broker.is_running:
            self.broker.resume()
        else:
            await self.broker.start()
        await self.drained()
        code = await self.broker.terminate()
        if code != 0:
            raise ScenarioFailedError(f"the broker stopped with exit code {code}")
        output = await self._taken(self.queues.output)
        dead_letters = await self._taken(self.queues.dead_letter)
        verdict = check(self.sent, output, dead_letters, allowed)
        left = await self.client.look(self.queues.input)
        if left.ready:
            verdict.problems.append(f"{left.ready} messages were back in the input queue")
        return verdict

    def queue_names(self) -> Sequence[str]:
        """Return the names of all queues of this scenario."""
        return list(msgspec.structs.asdict(self.queues).values())

    def _answers(self) -> int:
        return sum(message.get("message_type") == "PONG" for message in self.server.received)

    async def _taken(self, queue: str) -> list[Taken]:
        return [*self._collected[queue], *await self.client.take_all(queue)]

    def _settings(self) -> dict[str, str]:
        amqp = URL(self.node.url).with_port(self.amqp.port)
        websocket = URL(self.server.url).with_port(self.websocket.port)
        return {
            "AMQP_URL": str(amqp),
            "WEBSOCKET_URL": str(websocket),
            "BROKER_PREFETCH": str(self.prefetch),
            **{
                f"BROKER_{name.upper()}_QUEUE": queue
                for name, queue in msgspec.structs.asdict(self.queues).items()
            },
        }


@asynccontextmanager
async def open_arena(
    node: RabbitmqNode, directory: Path, random: Random, *, is_long: bool
) -> AsyncIterator[Arena]:
    """Prepare an arena: queues, a server with agents online, proxies, a broker to be started.

    Args:
        node: A running node.
        directory: Where the broker runs and has its log.
        random: The source of all that is random.
        is_long: Whether the long form is to be played.
    """
    with start_blocking_portal("asyncio", name="chaos") as portal:
        async with (
            open_central_server() as server,
            open_proxy(node.port, random=random) as amqp,
            open_proxy(URL(server.url).port or 0, random=random) as websocket,
        ):
            arena = Arena(
                node=node,
                server=server,
                amqp=amqp,
                websocket=websocket,
                portal=portal,
                directory=directory,
                random=random,
                is_long=is_long,
            )
            server.update(*(AgentStatus(name, name, is_online=True) for name in chat.AGENTS))
            await arena.client.declare(arena.queue_names())
            try:
                yield arena
            finally:
                with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                    await arena.broker.close()
            await arena.client.delete(arena.queue_names())
