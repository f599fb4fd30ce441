"""No single message costs more than one session, whatever it is and wherever it comes from.

Each is delivered alone, with a good one behind it, to a broker that has met no other. The brokers
run in this process, as there are hundreds of them.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from anyio.from_thread import start_blocking_portal

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
from tests.faults.taken import taken
from tests.lab.amqp_client import AmqpClient
from tests.lab.central_server import open_central_server
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node
from tests.lab.raw_content import Content

pytestmark = pytest.mark.exhaustive

PATIENCE = 60.0
GOOD = 1_000_000
"""The number of the good message."""
DEFAULTS = ""
KINDS = ("input", "output", "metadata", "advertisement", "dead_letter")
_numbers = count(1)


class Case(msgspec.Struct, frozen=True):
    """One message.

    Attributes:
        config: The line of rabbitmq.conf under which it is delivered.
        is_older: Whether it was published before RabbitMQ had that line.
    """

    message: Impossible
    kind: str = "input"
    config: str = DEFAULTS
    is_older: bool = False

    @property
    def name(self) -> str:
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
    def __init__(self, node: RabbitmqNode) -> None:
        self.node = node
        self.client = AmqpClient(node.url)
        self.older: dict[str, str] = {}
        """The queues of messages from before the limit, by the name of their case."""

    async def publish(self, case: Case) -> str:
        queue = f"{case.kind}_{next(_numbers)}"
        await self.client.declare(queue)
        await self.client.publish_content(queue, case.message.content, good(case.kind))
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


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with a line of rabbitmq.conf; pytest runs all that need the same one in a row."""
    config: str = request.param
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_rabbitmq_node()) as node,
    ):
        world = World(node)
        if config != DEFAULTS:
            portal.call(_limit, world, config)
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

    async def count() -> int:
        with suppress(ConnectionError):
            return await world.client.ready(queue)
        return 0

    await eventually(count, queue, until=lambda ready: ready >= least, within=PATIENCE)


@pytest.mark.parametrize(
    ("world", "case"),
    [pytest.param(case.config, case, id=case.name) for case in CASES],
    indirect=["world"],
)
async def test_a_message_costs_one_session_at_most(world: World, case: Case) -> None:
    queue = world.older.get(case.name) or await world.publish(case)
    number = next(_numbers)
    queues = {kind: f"{kind}_of_{number}" for kind in KINDS} | {case.kind: queue}
    is_poison = isinstance(case.message, Poison)
    answers = (case.kind != "advertisement") + (not is_poison)
    async with running(world, queues):
        await holds(world, queues["output"], answers)
        if is_poison:
            await holds(world, queues["dead_letter"], 1)
    assert Counted.last is not None
    assert Counted.last.connectivity.reconnects <= 1, Counted.last.connectivity.error
    # Nothing is lost, nothing is left, and nothing else came of it.
    assert await world.client.ready(queue) == 0
    assert len(await world.client.take_all(queues["output"])) == answers
    letters = joined(map(taken, await world.client.take_all(queues["dead_letter"])))
    expected = [case.message.content.body] if is_poison else []
    assert [letter.body for letter in letters.whole] == expected
    assert not letters.incomplete
    assert not letters.unsound
    await world.client.delete(*queues.values())
