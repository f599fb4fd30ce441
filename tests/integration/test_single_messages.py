"""No single message costs more than one session, whatever it is and wherever it comes from.

Each is delivered alone, with a good one behind it, to a broker that has met no other. The brokers
run in this process, as there are hundreds of them.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from broker import assembly, service
from broker.amqp import AmqpLink
from broker.core.messages import AgentStatus
from broker.settings import load_settings
from broker.settings.options import options
from tests.faults import chat
from tests.faults.impossible import ORDEALS, Impossible, Ordeal
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
from tests.lab.limits import limited
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.raw_content import Content

pytestmark = pytest.mark.exhaustive

PATIENCE = 60.0
GOOD = 1_000_000
"""The number of the good message."""
KINDS = ("input", "output", "metadata", "advertisement", "dead_letter")
_numbers = count(1)


class Case(msgspec.Struct, frozen=True):
    """One message.

    Attributes:
        ordeal: The limit of RabbitMQ under which it is delivered.
        is_older: Whether it was published before RabbitMQ had that limit.
    """

    message: Impossible
    kind: str = "input"
    ordeal: Ordeal | None = None
    is_older: bool = False

    @property
    def name(self) -> str:
        age = ", older" if self.is_older else ""
        return f"{self.ordeal.name if self.ordeal else self.kind}{age}: {self.message.name}"

    def limit(self, node: RabbitmqNode) -> AbstractAsyncContextManager[None]:
        if self.ordeal is None:
            return nullcontext()
        return limited(node, self.ordeal.limit, self.ordeal.value)


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
            yield Case(make(number), ordeal=ordeal)
        for number, make in enumerate(ordeal.before, len(ordeal.after)):
            yield Case(make(number), ordeal=ordeal, is_older=True)


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
async def running(node: RabbitmqNode, queues: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a broker for the length of the block, and stop it as it should stop."""
    async with open_central_server() as server:
        server.update(*(AgentStatus(name, name, is_online=True) for name in chat.AGENTS))
        settings = load_settings(
            {
                "amqp_url": node.url,
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


async def holds(client: AmqpClient, queue: str, least: int) -> None:
    """Wait until a queue, which the broker may still have to make, has so many messages."""

    async def count() -> int:
        with suppress(ConnectionError):
            return await client.ready(queue)
        return 0

    await eventually(count, queue, until=lambda ready: ready >= least, within=PATIENCE)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.xdist_group(f"messages {number % 8}"))
        for number, case in enumerate(catalogue())
    ],
)
async def test_a_message_costs_one_session_at_most(rabbitmq: RabbitmqNode, case: Case) -> None:
    client = AmqpClient(rabbitmq.url)
    number = next(_numbers)
    queues = {kind: f"{kind}_of_{number}" for kind in KINDS}
    queue = queues[case.kind]

    async def publish() -> None:
        await client.declare(queue)
        await client.publish_content(queue, case.message.content, good(case.kind))

    is_poison = isinstance(case.message, Poison)
    answers = (case.kind != "advertisement") + (not is_poison)
    if case.is_older:
        await publish()
    async with case.limit(rabbitmq):
        if not case.is_older:
            await publish()
        async with running(rabbitmq, queues):
            await holds(client, queues["output"], answers)
            if is_poison:
                await holds(client, queues["dead_letter"], 1)
    assert Counted.last is not None
    assert Counted.last.connectivity.reconnects <= 1, Counted.last.connectivity.error
    # Nothing is lost, nothing is left, and nothing else came of it.
    assert await client.ready(queue) == 0
    assert len(await client.take_all(queues["output"])) == answers
    letters = joined(map(taken, await client.take_all(queues["dead_letter"])))
    expected = [case.message.content.body] if is_poison else []
    assert [letter.body for letter in letters.whole] == expected
    assert not letters.incomplete
    assert not letters.unsound
    await client.delete(*queues.values())
