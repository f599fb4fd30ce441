"""No single message costs more than one session, whatever it is and wherever it comes from.

Each with unusual properties, or larger than RabbitMQ takes, is delivered alone, with a good one
behind it, to a broker that has met no other. What is odd in its body only concerns no connection:
all those come to one broker, which must not lose any session.

The brokers run in this process, as there are so many of them.
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
from tests.lab.raw_content import PERSISTENT, Content

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

    @property
    def is_usual(self) -> bool:
        """Whether RabbitMQ, which does not look into bodies, has nothing to refuse."""
        content = self.message.content
        has_usual_properties = content.properties == PERSISTENT and content.routing_key is None
        return has_usual_properties and self.ordeal is None

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


def queues_of_one_test() -> Mapping[str, str]:
    number = next(_numbers)
    return {kind: f"{kind}_of_{number}" for kind in KINDS}


def answers_to(kind: str, *messages: Impossible) -> int:
    """Count what comes out of messages of which each is followed by a good one."""
    good_answered = len(messages) if kind != "advertisement" else 0
    return good_answered + sum(not isinstance(message, Poison) for message in messages)


@pytest.mark.parametrize("kind", ["input", "metadata", "advertisement"])
async def test_odd_bodies_cost_no_session(rabbitmq: RabbitmqNode, kind: str) -> None:
    client, queues = AmqpClient(rabbitmq.url), queues_of_one_test()
    messages = [case.message for case in catalogue() if case.kind == kind and case.is_usual]
    poison = [message.content.body for message in messages if isinstance(message, Poison)]
    answers = answers_to(kind, *messages)
    async with running(rabbitmq, queues):
        await client.declare(queues[kind])
        for message in messages:
            await client.publish_content(queues[kind], message.content, good(kind))
        await holds(client, queues["output"], answers)
        await holds(client, queues["dead_letter"], len(poison))
    assert Counted.last is not None
    assert Counted.last.connectivity.reconnects == 0, Counted.last.connectivity.error
    assert await client.ready(queues[kind]) == 0
    assert len(await client.take_all(queues["output"])) == answers
    letters = joined(map(taken, await client.take_all(queues["dead_letter"])))
    assert sorted(letter.body for letter in letters.whole) == sorted(poison)
    await client.delete(*queues.values())


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.xdist_group(f"messages {number % 4}"))
        for number, case in enumerate(case for case in catalogue() if not case.is_usual)
    ],
)
async def test_a_message_costs_one_session_at_most(rabbitmq: RabbitmqNode, case: Case) -> None:
    client, queues = AmqpClient(rabbitmq.url), queues_of_one_test()
    queue = queues[case.kind]

    async def publish() -> None:
        await client.declare(queue)
        await client.publish_content(queue, case.message.content, good(case.kind))

    is_poison = isinstance(case.message, Poison)
    answers = answers_to(case.kind, case.message)
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
