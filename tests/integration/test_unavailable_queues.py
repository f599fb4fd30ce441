"""Queues and exchanges that RabbitMQ does not let be used: all else goes on, in one session."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from uuid import uuid4

import aiormq
import pytest
import trio
from aiormq.abc import AbstractChannel, AbstractConnection
from anyio.from_thread import start_blocking_portal

from tests.integration.http_client import get, listening, until_answered
from tests.integration.rig import PATIENCE, Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer

POISON = b"not JSON"
FEW = {"BROKER_HTTP_PORT": "0", "BROKER_PREFETCH": "10"}
REGISTRATION = {"message_type": "REGISTER_AGENT", "agent_id": "new", "agent_name": "New"}


@asynccontextmanager
async def holding(
    url: str, hold: Callable[[AbstractChannel], Awaitable[object]]
) -> AsyncIterator[None]:
    """Let somebody else have something for the length of the block."""

    async def take() -> AbstractConnection:
        connection = await aiormq.connect(url)
        await hold(await connection.channel())
        return connection

    with start_blocking_portal("asyncio") as portal:
        connection = await portal.call_async(take)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await portal.call_async(connection.close)


async def exclusive_queue(channel: AbstractChannel, queue: str) -> None:
    await channel.queue_declare(queue, exclusive=True)


async def exclusive_consumer(channel: AbstractChannel, queue: str) -> None:
    await channel.queue_declare(queue, durable=True)
    await channel.basic_consume(queue, ignore, exclusive=True)


async def ignore(_: object) -> None:
    pass


async def chat_goes_on(rig: Rig, count: int = 30) -> None:
    """Send more chat messages than the broker may hold, and see them all routed."""
    await rig.publish(rig.input, *(text(number, "somebody") for number in range(count)))
    assert len(await rig.take(rig.output, count)) == count


async def unacknowledged(rig: Rig, queue: str, count: int) -> None:
    """Wait until so many messages of a queue are held, and none waits in it."""
    with trio.fail_after(PATIENCE):
        while True:
            listed = await rig.node.ctl(
                "list_queues", "name", "messages_ready", "messages_unacknowledged"
            )
            if f"{queue}\t0\t{count}\n" in listed:
                return


async def waiting_for(port: int, queue: str) -> int:
    """Return how many messages the broker holds for a queue that is away."""
    _, shown = await get(port, "/readyz?verbose")
    found = re.search(rf"{re.escape(queue)}: .*\((\d+) messages? wait", shown)
    return int(found[1]) if found else 0


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
    hold: Callable[[AbstractChannel, str], Awaitable[None]],
    says: str,
) -> None:
    bring_online(server)
    queue: str = getattr(rig, which)
    async with (
        holding(rig.node.url, lambda channel: hold(channel, queue)),
        rig.broker(server.url, **FEW) as broker,
    ):
        await rig.logged("routing_started")
        port = await listening(rig)
        shown = await until_answered(port, "/readyz?verbose", 503, says)
        assert f"[-]consumers RabbitMQ has no consumer of {queue}" in shown
        await chat_goes_on(rig)
        status = json.loads((await get(port, "/status"))[1])
        assert says in str(status["checks"])
        assert status["state"] == "routing"
        assert says in (await rig.logged("consumer_lost"))[0]["error"]
        assert await terminate(broker, within=12) == 0
    assert never_lost(rig)


@pytest.mark.parametrize("is_first", [False, True])
async def test_one_of_several_input_queues_is_away(
    rig: Rig, server: CentralServer, *, is_first: bool
) -> None:
    bring_online(server)
    away = f"{rig.input}-away"
    inputs = [away, rig.input] if is_first else [rig.input, away]
    settings = FEW | {"BROKER_INPUT_QUEUE": ",".join(inputs)}
    async with AsyncExitStack() as somebody, AsyncExitStack() as broker:
        hold = partial(exclusive_queue, queue=away)
        await somebody.enter_async_context(holding(rig.node.url, hold))
        await broker.enter_async_context(rig.broker(server.url, **settings))
        await rig.logged("routing_started")
        port = await listening(rig)
        await until_answered(port, "/readyz?verbose", 503, f"{away} (")
        await chat_goes_on(rig)
        await somebody.aclose()
        await until_answered(port, "/readyz", 200)
        await rig.publish(away, text(1, "somebody"))
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
    assert never_lost(rig)


async def test_a_stream_is_refused_by_name_and_nothing_of_it_is_skipped(
    rig: Rig, server: CentralServer
) -> None:
    bring_online(server)
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


@pytest.fixture
async def restricted(rig: Rig) -> AsyncIterator[Callable[[str, str], Awaitable[None]]]:
    """A user of the rig who may do all but with some names; call it to change which."""
    name = f"restricted-{uuid4().hex[:8]}"
    await rig.node.ctl("add_user", name, name)

    async def forbid(right: str, queue: str) -> None:
        patterns = {"configure": ".*", "write": ".*", "read": ".*"}
        if queue:
            patterns[right] = f"^(?!{re.escape(queue)}$).*"
        await rig.node.ctl("set_permissions", name, *patterns.values())

    forbid.url = rig.node.url.replace("guest:guest", f"{name}:{name}")  # type: ignore[attr-defined]
    yield forbid
    await rig.node.ctl("delete_user", name)


async def test_while_the_dead_letter_queue_is_away_only_dead_letters_wait(
    rig: Rig, server: CentralServer, restricted: Callable[[str, str], Awaitable[None]]
) -> None:
    bring_online(server)
    await restricted("configure", rig.dead_letter)
    settings = FEW | {"AMQP_URL": restricted.url}  # type: ignore[attr-defined]
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
    assert await rig.ready_count(rig.input) == 0


async def test_messages_for_an_output_queue_that_is_away_wait_for_it(
    rig: Rig, server: CentralServer, restricted: Callable[[str, str], Awaitable[None]]
) -> None:
    agents = bring_online(server, 12)
    away = f"{rig.output}-away"
    await restricted("configure", away)
    settings = FEW | {
        "AMQP_URL": restricted.url,  # type: ignore[attr-defined]
        "BROKER_OUTPUT_QUEUE": f"{rig.output},{away}",
        "BROKER_PREFETCH": "100",
    }
    async with rig.broker(server.url, **settings):
        await rig.logged("routing_started")
        await rig.publish(rig.input, *(text(number, agents[0]) for number in range(60)))
        port = await listening(rig)
        with trio.fail_after(PATIENCE):
            while await rig.ready_count(rig.output) + await waiting_for(port, away) < 60:
                await trio.sleep(0.05)
        there = ids(await rig.take_all(rig.output))
        assert 0 < len(there) < 60
        await unacknowledged(rig, rig.input, 60 - len(there))
        await rig.declare(away)
        waited = ids(await rig.take(away, 60 - len(there)))
        assert sorted(there + waited) == sorted(f"m-{number}" for number in range(60))
    assert never_lost(rig)


@pytest.mark.parametrize("right", ["read", "write"])
async def test_an_exchange_of_others_takes_only_what_goes_through_it(
    rig: Rig, server: CentralServer, restricted: Callable[[str, str], Awaitable[None]], right: str
) -> None:
    bring_online(server)
    await restricted(right, rig.registry_exchange)
    settings = FEW | {"AMQP_URL": restricted.url}  # type: ignore[attr-defined]
    async with rig.broker(server.url, **settings) as broker:
        await rig.logged("routing_started")
        await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
        [response] = await rig.take(rig.output, 1)
        assert json.loads(response.body)["status"] == "success"
        port = await listening(rig)
        await until_answered(port, "/readyz?verbose", 503, "ACCESS_REFUSED")
        await chat_goes_on(rig)
        # What other brokers were to learn waits, and is not lost.
        await unacknowledged(rig, rig.metadata, 1 if right == "write" else 0)
        await restricted(right, "")
        await unacknowledged(rig, rig.metadata, 0)
        await until_answered(port, "/readyz", 200)
        assert await terminate(broker, within=12) == 0
    assert never_lost(rig)


async def test_a_queue_that_is_taken_away_meanwhile_takes_only_itself(
    rig: Rig, server: CentralServer
) -> None:
    bring_online(server)
    async with rig.broker(server.url, **FEW):
        port = await listening(rig)
        await until_answered(port, "/readyz", 200)
        await rig.node.ctl("delete_queue", rig.metadata)
        async with holding(rig.node.url, partial(taken, queue=rig.metadata)):
            await chat_goes_on(rig)
            await until_answered(port, "/readyz?verbose", 503, "RESOURCE_LOCKED")
        await until_answered(port, "/readyz", 200)
        await rig.publish(rig.metadata, json.dumps(REGISTRATION).encode())
        assert len(await rig.take(rig.output, 1)) == 1
    assert never_lost(rig)


async def taken(channel: AbstractChannel, queue: str) -> None:
    """Take a queue before the broker creates it again, or from it."""
    await channel.queue_delete(queue)
    await channel.queue_declare(queue, exclusive=True)
