"""Messages for which RabbitMQ closes the channel without telling which of them it was."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest
import trio
from aiormq import Channel
from aiormq.abc import DeliveredMessage
from anyio.from_thread import BlockingPortal
from msgspec.structs import replace

from broker.amqp import (
    DeadLetterAddress,
    Delivery,
    Publishing,
    PublishOutcome,
    Rabbit,
    Refusals,
    SessionLostError,
    SessionParameters,
    Settlement,
    dead_letter,
)
from broker.amqp.admin import open_admin_session
from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher
from broker.amqp.suspects import SuspectPublisher
from broker.amqp.wire.takers import ConfirmTaker
from broker.telemetry.tally import PublishTally
from tests.amqp.conftest import Queues
from tests.amqp.inbox import APP_ID, Inbox
from tests.amqp.raw_amqp import RawRabbitmq

GUILTY = b"guilty"


def publishing(queue: str, delivery: Delivery) -> Publishing:
    """Return what RabbitMQ refuses for the guilty one: an expiration that is no number."""
    return Publishing(
        queue, delivery.body, APP_ID, expiration="soon" if delivery.body == GUILTY else None
    )


def routed(queues: Queues) -> Callable[[Delivery], Settlement]:
    return lambda delivery: Settlement(
        delivery,
        publishing(queues.output, delivery),
        fallback=DeadLetterAddress(queues.parked, APP_ID),
    )


def dead_lettered(queues: Queues) -> Callable[[Delivery], Settlement]:
    """Return what makes each a dead letter, one of which RabbitMQ refuses for what it keeps."""

    def settlement(delivery: Delivery) -> Settlement:
        letter = dead_letter(
            delivery, queue=queues.parked, reason="too_deep", error="", broker_id=APP_ID
        )
        if delivery.body == GUILTY:
            letter = replace(letter, kept=b"\x01\x00\x04soon")
        return Settlement(delivery, letter, rejected="too_deep")

    return settlement


async def all_of(raw: RawRabbitmq, queue: str) -> list[DeliveredMessage]:
    return await raw.take(queue, await raw.ready(queue))


class Process:
    """What outlives a session: it opens one after the other until all is acknowledged."""

    def __init__(self, rabbit: Rabbit, parameters: SessionParameters, raw: RawRabbitmq) -> None:
        self.tally = PublishTally()
        self.refusals = Refusals()
        self.lost: list[str] = []
        self._rabbit = rabbit
        self._raw = raw
        self._parameters = replace(parameters, tally=self.tally, refusals=self.refusals)

    async def settle_all(self, queue: str, settlement: Callable[[Delivery], Settlement]) -> None:
        with trio.fail_after(30):
            while True:
                try:
                    async with self._rabbit.open_session(self._parameters) as session:
                        await self._consume(session.consume, queue, settlement)
                        return
                except SessionLostError as error:
                    self.lost.append(str(error))

    async def _consume(
        self,
        consume: Callable[..., Awaitable[None]],
        queue: str,
        settlement: Callable[[Delivery], Settlement],
    ) -> None:
        inbox = Inbox(settlement)
        async with trio.open_nursery() as nursery:
            await nursery.start(consume, queue, inbox.take)
            await inbox.holds(1)
            # It waits for all that arrived to be acknowledged.
            nursery.cancel_scope.cancel()


@pytest.fixture
def process(rabbit: Rabbit, parameters: SessionParameters, raw: RawRabbitmq) -> Process:
    return Process(rabbit, parameters, raw)


async def test_the_guilty_one_is_found_at_the_cost_of_one_session(
    process: Process, queues: Queues, raw: RawRabbitmq
) -> None:
    await raw.declare(queues.input)
    bystanders = [b"%d" % number for number in range(20)]
    await raw.publish(queues.input, *bystanders[:10], GUILTY, GUILTY, *bystanders[10:])
    await process.settle_all(queues.input, routed(queues))

    assert len(process.lost) == 1
    assert "invalid expiration" in process.lost[0]
    assert await raw.ready(queues.input) == 0
    # What the first session published may come twice.
    assert {message.body for message in await all_of(raw, queues.output)} == set(bystanders)
    letters = await raw.take(queues.parked, 2)
    assert [letter.body for letter in letters] == [GUILTY, GUILTY]
    headers = letters[0].header.properties.headers or {}
    assert headers["x-broker-reason"] == "internal_error"
    assert "invalid expiration" in str(headers["x-broker-error"])
    assert process.tally.dead_lettered["internal_error"] == 2


async def test_a_dead_letter_that_is_refused_for_what_it_keeps_keeps_it_in_its_body(
    process: Process, queues: Queues, raw: RawRabbitmq
) -> None:
    await raw.declare(queues.input)
    await raw.publish(queues.input, b"a", GUILTY, b"b")
    await process.settle_all(queues.input, dead_lettered(queues))

    assert len(process.lost) == 1
    letters = await all_of(raw, queues.parked)
    whole = {letter.body for letter in letters}
    assert {b"a", b"b"} < whole
    [bare] = whole - {b"a", b"b"}
    assert bare.endswith(GUILTY)
    assert process.tally.dead_lettered["too_deep"] == 3
    assert await raw.ready(queues.input) == 0


async def test_one_that_nobody_waits_for_any_more_is_not_blamed_on_the_next(
    portal: BlockingPortal, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    """As when its consumer is lost while it is under way."""
    await raw.declare(queues.output)
    innocent = Publishing(queues.output, b"innocent", APP_ID)
    guilty = replace(innocent, expiration="soon")

    async def scenario() -> PublishOutcome:
        opened = []

        async def connect() -> Connection:
            connection = Connection(parameters.endpoint, name="test")
            opened.append(connection)
            await connection.open()
            return connection

        suspects = SuspectPublisher(connect, new_publisher, Refusals())
        await suspects.publish(innocent)
        abandoned = asyncio.create_task(suspects.publish(guilty))
        # It is written in the second turn of the event loop; RabbitMQ's answer is read in a later.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        abandoned.cancel()
        await asyncio.wait([abandoned])
        try:
            return await suspects.publish(innocent)
        finally:
            for connection in opened:
                await connection.close()

    assert await portal.call_async(scenario) is PublishOutcome.CONFIRMED


def new_publisher(connection: Connection, channel: Channel) -> Publisher:
    async def ensure(queue: str) -> None:
        raise AssertionError(queue)

    publisher = Publisher(channel, connection.writer, ensure, PublishTally())
    connection.add_taker(channel.number, ConfirmTaker(publisher))
    return publisher


async def test_publishing_many_of_them_takes_no_memory(
    portal: BlockingPortal, rabbit: Rabbit, parameters: SessionParameters, queues: Queues
) -> None:
    def futures() -> int:
        gc.collect()
        return sum(isinstance(one, asyncio.Future) for one in gc.get_objects())

    async with open_admin_session(rabbit, parameters) as session:
        counts = []
        for _ in range(2):
            for _ in range(50):
                await session.publish_apart(Publishing(queues.output, b"", APP_ID))
            counts.append(portal.call(futures))
    assert counts[1] - counts[0] < 50
