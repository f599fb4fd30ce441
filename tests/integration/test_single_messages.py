"""No single message costs more than one session, whatever it is and wherever it comes from.

Each is delivered alone, with a good one behind it, to a broker that has met no other. The brokers
run in this process, as there are hundreds of them.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker import assembly, service
from broker.amqp import AmqpLink
from broker.core.messages import AgentStatus
from broker.settings import load_settings
from broker.settings.options import options
from tests.faults import chat
from tests.faults.impossible import ORDEALS, Impossible
from tests.faults.parts import joined
from tests.faults.poison import (
    Poison,
    advertisement_poison,
    input_poison,
    metadata_poison,
    oddities,
)
from tests.faults.queue_client import QueueClient
from tests.faults.raw_content import Content
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node

PATIENCE = 60.0
POLL_INTERVAL = 0.02
GOOD = 1_000_000
"""The number of the good message."""
DEFAULTS = ""
KINDS = ("input", "output", "metadata", "advertisement", "dead_letter")
_numbers = count(1)


class Case(msgspec.Struct, frozen=True):
    """One message.

    Attributes:
        message: The message.
        kind: The kind of queue that it comes from.
        config: The line of rabbitmq.conf under which it is delivered.
        is_older: Whether it was published before RabbitMQ had that line.
    """

    message: Impossible
    kind: str = "input"
    config: str = DEFAULTS
    is_older: bool = False

    @property
    def name(self) -> str:
        """What it is, for people."""
        age = ", older" if self.is_older else ""
        return f"{self.config or self.kind}{age}: {self.message.name}"


def catalogue() -> Iterator[Case]:
    """Return all that is known to be hostile or odd; what any queue refuses, once."""
    seen: set[bytes] = set()
    for kind, poisons in (
        ("input", input_poison(0)),
        ("metadata", metadata_poison(0)),
        ("advertisement", advertisement_poison(0)),
    ):
        for poison in poisons:
            if poison.content.body not in seen:
                seen.add(poison.content.body)
                yield Case(poison, kind)
    for oddity in oddities(0, "victim"):
        yield Case(oddity)
    for ordeal in ORDEALS:
        for number, make in enumerate(ordeal.after):
            yield Case(make(number), config=ordeal.config)
        for number, make in enumerate(ordeal.before, len(ordeal.after)):
            yield Case(make(number), config=ordeal.config, is_older=True)


CASES = tuple(catalogue())


class World:
    """A RabbitMQ with a limit of its own."""

    def __init__(self, node: RabbitmqNode, portal: BlockingPortal) -> None:
        self.node = node
        self.portal = portal
        self.client = QueueClient(portal, node.url)
        self.older: dict[str, str] = {}
        """The queues of messages from before the limit, by the name of their case."""

    async def publish(self, case: Case) -> str:
        """Put a message and a good one into a new queue, and return its name."""
        queue = f"{case.kind}_{next(_numbers)}"
        await self.client.declare([queue])
        await self.client.publish(queue, [case.message.content, good(case.kind)])
        return queue


def good(kind: str) -> Content:
    """Return a message that a queue takes; all but an advertisement come out of the output."""
    match kind:
        case "metadata":
            return Content(
                b'{"message_type": "REGISTER_AGENT", "agent_id": "a", "agent_name": "A"}'
            )
        case "advertisement":
            return Content(b'{"message_type": "SERVER_AVAILABLE", "server_id": "s"}')
        case _:
            return Content(chat.body(GOOD))


class Worlds:
    """One world at a time; see `worlds`."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._config: str | None = None
        self._world: World

    def get(self, config: str) -> World:
        """Return the world with a line of rabbitmq.conf, in place of the one before."""
        if config != self._config:
            self._stack.close()
            self._config = config
            self._world = self._stack.enter_context(_open(config))
        return self._world


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(stack)


@pytest.fixture
def world(worlds: Worlds, case: Case) -> World:
    return worlds.get(case.config)


@contextmanager
def _open(config: str) -> Iterator[World]:
    with (
        start_blocking_portal("trio") as trio_portal,
        start_blocking_portal("asyncio", name="client") as portal,
        trio_portal.wrap_async_context_manager(open_rabbitmq_node()) as node,
    ):
        world = World(node, portal)
        if config != DEFAULTS:
            trio_portal.call(_limit, world, config)
        yield world


async def _limit(world: World, config: str) -> None:
    for case in CASES:
        if case.is_older and case.config == config:
            world.older[case.name] = await world.publish(case)
    await world.node.stop()
    world.node.configure(f"{config}\n")
    await world.node.start()


class Counted(AmqpLink):
    """A link that a test can ask how many sessions were lost."""

    last: "Counted | None" = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Counted.last = self


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in options():
        monkeypatch.delenv(option.variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(assembly, "AmqpLink", Counted)


@asynccontextmanager
async def running(world: World, queues: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a broker for the length of the block, and stop it as it should stop."""
    async with open_central_server() as server:
        server.update(*(AgentStatus(name, name, is_online=True) for name in chat.AGENTS))
        settings = load_settings(
            {
                "amqp_url": world.node.url,
                "websocket_url": server.url,
                "broker_http_port": "off",
                "broker_registry_exchange": f"{queues['metadata']}_events",
                **{f"broker_{kind}_queue": queue for kind, queue in queues.items()},
            }
        )
        stop, stopped = trio.Event(), []
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                stopped.append(await service.serve(settings, stop))

            nursery.start_soon(serve)
            yield
            stop.set()
    assert stopped == [True]


async def holds(world: World, queue: str, least: int) -> None:
    """Wait until a queue, which the broker may still have to make, has so many messages."""
    while True:
        try:
            if (await world.client.look(queue)).ready >= least:
                return
        except ConnectionError:
            pass
        await trio.sleep(POLL_INTERVAL)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_message_costs_one_session_at_most(world: World, case: Case) -> None:
    queue = world.older.get(case.name) or await world.publish(case)
    number = next(_numbers)
    queues = {kind: f"{kind}_of_{number}" for kind in KINDS} | {case.kind: queue}
    is_poison = isinstance(case.message, Poison)
    answers = (case.kind != "advertisement") + (not is_poison)
    with trio.fail_after(PATIENCE):
        async with running(world, queues):
            await holds(world, queues["output"], answers)
            if is_poison:
                await holds(world, queues["dead_letter"], 1)
    assert Counted.last is not None
    assert Counted.last.connectivity.reconnects <= 1, Counted.last.connectivity.error
    # Nothing is lost, nothing is left, and nothing else came of it.
    assert (await world.client.look(queue)).ready == 0
    assert len(await world.client.take_all(queues["output"])) == answers
    letters = joined(await world.client.take_all(queues["dead_letter"]))
    expected = [case.message.content.body] if is_poison else []
    assert [letter.body for letter in letters.whole] == expected
    assert not letters.incomplete
    assert not letters.unsound
    await world.client.delete(list(queues.values()))
