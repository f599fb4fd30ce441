"""Queues and exchanges that RabbitMQ does not let be used: all else goes on, in one session."""

import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest

from tests.integration.http_client import get, listening, until_answered
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.amqp_connection import AmqpConnection
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode

POISON = b"not JSON"
FEW = {"BROKER_HTTP_PORT": "0", "BROKER_PREFETCH": "10"}
REGISTRATION = {"message_type": "REGISTER_AGENT", "agent_id": "new", "agent_name": "New"}


@contextmanager
def holding(rig: Rig, hold: Callable[[AmqpConnection, str], object], queue: str) -> Iterator[None]:
    """Let somebody else have something for the length of the block."""
    with AmqpConnection(rig.node.url) as connection:
        hold(connection, queue)
        yield


def exclusive_queue(connection: AmqpConnection, queue: str) -> None:
    connection.declare(queue, exclusive=True)


def exclusive_consumer(connection: AmqpConnection, queue: str) -> None:
    connection.declare(queue)
    connection.start_consumer(queue, exclusive=True)


async def chat_goes_on(rig: Rig, count: int = 30) -> None:
    """Send more chat messages than the broker may hold, and see them all routed."""
    await rig.publish(rig.input, *(text(number, "somebody") for number in range(count)))
    assert len(await rig.take(rig.output, count)) == count


async def unacknowledged(rig: Rig, queue: str, count: int) -> None:
    """Wait until so many messages of a queue are held, and none waits in it."""
    columns = ("name", "messages_ready", "messages_unacknowledged")
    await eventually(
        lambda: rig.node.ctl("list_queues", *columns),
        until=lambda listed: f"{queue}\t0\t{count}\n" in listed,
    )


async def waiting_for(port: int, queue: str) -> int:
    """Return how many messages the broker holds for a queue that is away."""
    _, shown = await get(port, "/readyz?verbose")
    found = re.search(rf"{re.escape(queue)}: .*\((\d+) messages? wait", shown)
    return int(found[1]) if found else 0


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        bring_online(server, 12)
        yield server


def never_lost(rig: Rig) -> bool:
    return not any(line["event"] == "amqp_lost" for line in rig.log())


@pytest.mark.parametrize(
    ("hold", "says"),
    [(exclusive_queue, "RESOURCE_LOCKED"), (exclusive_consumer, "in exclusive use")],
)
@pytest.mark.parametrize("which", ["advertisement", "metadata"])
async def test_a_queue_that_somebody_else_has_takes_only_itself(
    *,
    rig: Rig,
    server: CentralServer,
    which: str,
    hold: Callable[[AmqpConnection, str], object],
    says: str,
) -> None:
    queue: str = getattr(rig, which)
    with holding(rig, hold, queue):
        async with rig.routing(server.url, **FEW):
            port = await listening(rig)
            shown = await until_answered(port, "/readyz?verbose", 503, says)
            assert f"[-]consumers RabbitMQ has no consumer of {queue}" in shown
            await chat_goes_on(rig)
            status = json.loads((await get(port, "/status"))[1])
            assert says in str(status["checks"])
            assert status["state"] == "routing"
            assert says in (await rig.logged("consumer_lost"))[0]["error"]
    assert never_lost(rig)


@pytest.mark.parametrize("is_first", [False, True])
async def test_one_of_several_input_queues_is_away(
    rig: Rig, server: CentralServer, *, is_first: bool
) -> None:
    away = f"{rig.input}-away"
    inputs = [away, rig.input] if is_first else [rig.input, away]
    settings = FEW | {"BROKER_INPUT_QUEUE": ",".join(inputs)}
    with ExitStack() as somebody:
        somebody.enter_context(holding(rig, exclusive_queue, away))
        async with rig.routing(server.url, **settings):
            port = await listening(rig)
            await until_answered(port, "/readyz?verbose", 503, f"{away} (")
            await chat_goes_on(rig)
            somebody.close()
            await until_answered(port, "/readyz", 200)
            await rig.publish(away, text(1, "somebody"))
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]
    assert never_lost(rig)


async def test_a_stream_is_refused_by_name_and_nothing_of_it_is_skipped(
    rig: Rig, server: CentralServer
) -> None:
    stream = f"{rig.input}-stream"
    await rig.declare(stream, x_queue_type="stream")
    await rig.publish(stream, text(1, "somebody"))
    settings = FEW | {"BROKER_INPUT_QUEUE": f"{stream},{rig.input}"}
    async with rig.broker(server.url, **settings):
        port = await listening(rig)
        await until_answered(port, "/readyz?verbose", 503, f"queue '{stream}' is a stream")
        await chat_goes_on(rig)
        # Once a queue has taken its place, it is consumed.
        await rig.node.ctl("delete_queue", stream)
        await until_answered(port, "/readyz", 200)
        await rig.publish(stream, text(2, "somebody"))
        assert ids(await rig.take(rig.output, 1)) == ["m-2"]
    assert never_lost(rig)


@dataclass
class Restricted:
    """A user of the rig who may do all but with some names."""

    node: RabbitmqNode
    name: str

    @property
    def url(self) -> str:
        return self.node.url.replace("guest:guest", f"{self.name}:{self.name}")

    async def forbid(self, right: str, queue: str) -> None:
        patterns = {"configure": ".*", "write": ".*", "read": ".*"}
        patterns[right] = f"^(?!{re.escape(queue)}$).*"
        await self.node.ctl("set_permissions", self.name, *patterns.values())

    async def allow_all(self) -> None:
        await self.node.ctl("set_permissions", self.name, ".*", ".*", ".*")


@pytest.fixture
async def restricted(rig: Rig) -> AsyncIterator[Restricted]:
    name = f"restricted-{uuid4().hex[:8]}"
    await rig.node.ctl("add_user", name, name)
    yield Restricted(rig.node, name)
    await rig.node.ctl("delete_user", name)


async def test_while_the_dead_letter_queue_is_away_only_dead_letters_wait(
    rig: Rig, server: CentralServer, restricted: Restricted
) -> None:
    await restricted.forbid("configure", rig.dead_letter)
    settings = FEW | {"AMQP_URL": restricted.url}
    async with rig.broker(server.url, **settings) as broker:
        port = await listening(rig)
        await until_answered(port, "/readyz?verbose", 503, f"[-]queues {rig.dead_letter}: ")
        await rig.publish(rig.input, POISON, text(1, "somebody"), POISON)
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
        await chat_goes_on(rig)
        await unacknowledged(rig, rig.input, 2)
        await until_answered(port, "/readyz?verbose", 503, "(2 messages wait for it)")
        # The share that may wait is bounded, and it is said before no more is taken.
        await rig.publish(rig.input, POISON, POISON, POISON)
        await until_answered(port, "/readyz?verbose", 503, "5 of the 10 messages that may be held")
        await rig.declare(rig.dead_letter)
        assert [message.body for message in await rig.take(rig.dead_letter, 5)] == [POISON] * 5
        await until_answered(port, "/readyz", 200)
        assert await terminate(broker, within=12) == 0
    assert never_lost(rig)
    assert await rig.ready(rig.input) == 0


async def test_messages_for_an_output_queue_that_is_away_wait_for_it(
    rig: Rig, server: CentralServer, restricted: Restricted
) -> None:
    away = f"{rig.output}-away"
    await restricted.forbid("configure", away)
    settings = FEW | {
        "AMQP_URL": restricted.url,
        "BROKER_OUTPUT_QUEUE": f"{rig.output},{away}",
        "BROKER_PREFETCH": "100",
    }
    async with rig.routing(server.url, **settings):
        await rig.publish(rig.input, *(text(number, "agent_0") for number in range(60)))
        port = await listening(rig)

        async def arrived() -> int:
            return await rig.ready(rig.output) + await waiting_for(port, away)

        await eventually(arrived, until=lambda count: count == 60)
        there = ids(await rig.take_all(rig.output))
        assert 0 < len(there) < 60
        await unacknowledged(rig, rig.input, 60 - len(there))
        await rig.declare(away)
        waited = ids(await rig.take(away, 60 - len(there)))
        assert sorted(there + waited) == sorted(f"m-{number}" for number in range(60))
    assert never_lost(rig)


@pytest.mark.parametrize("right", ["read", "write"])
async def test_an_exchange_of_others_takes_only_what_goes_through_it(
    rig: Rig, server: CentralServer, restricted: Restricted, right: str
) -> None:
    await restricted.forbid(right, rig.registry_exchange)
    settings = FEW | {"AMQP_URL": restricted.url}
    async with rig.routing(server.url, **settings):
        await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
        [response] = await rig.take(rig.output, 1)
        assert json.loads(response.body)["status"] == "success"
        port = await listening(rig)
        await until_answered(port, "/readyz?verbose", 503, "ACCESS_REFUSED")
        await chat_goes_on(rig)
        # What other brokers were to learn waits, and is not lost.
        await unacknowledged(rig, rig.metadata, 1 if right == "write" else 0)
        await restricted.allow_all()
        await unacknowledged(rig, rig.metadata, 0)
        await until_answered(port, "/readyz", 200)
    assert never_lost(rig)


async def test_a_queue_that_is_taken_away_meanwhile_takes_only_itself(
    rig: Rig, server: CentralServer
) -> None:
    async with rig.broker(server.url, **FEW) as broker:
        port = await listening(rig)
        await until_answered(port, "/readyz", 200)
        # Else it might create the queue again before somebody else has it.
        os.kill(broker.pid, signal.SIGSTOP)
        with holding(rig, taken, rig.metadata):
            os.kill(broker.pid, signal.SIGCONT)
            await chat_goes_on(rig)
            await until_answered(port, "/readyz?verbose", 503, "RESOURCE_LOCKED")
        await until_answered(port, "/readyz", 200)
        await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
        assert len(await rig.take(rig.output, 1)) == 1
    assert never_lost(rig)


def taken(connection: AmqpConnection, queue: str) -> None:
    """Take a queue that there is."""
    connection.delete(queue)
    connection.declare(queue, exclusive=True)
