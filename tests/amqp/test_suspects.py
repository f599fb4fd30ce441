"""Messages for which RabbitMQ closes the channel without telling which of them it was."""

import asyncio
import gc
from collections.abc import Callable

from aiormq import Channel
from anyio.from_thread import BlockingPortal
from msgspec.structs import replace

from broker.amqp import (
    DeadLetterAddress,
    Delivery,
    Publishing,
    PublishOutcome,
    Refusals,
    SessionLostError,
    Settlement,
    dead_letter,
)
from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher
from broker.amqp.suspects import SuspectPublisher
from broker.amqp.wire.takers import ConfirmTaker
from broker.telemetry.tally import PublishTally
from tests.amqp.inbox import APP_ID, Inbox
from tests.amqp.rig import Rig

GUILTY = b"guilty"


def publishing(queue: str, delivery: Delivery) -> Publishing:
    """Return what RabbitMQ refuses for the guilty one: an expiration that is no number."""
    return Publishing(
        queue, delivery.body, APP_ID, expiration="soon" if delivery.body == GUILTY else None
    )


def routed(rig: Rig) -> Callable[[Delivery], Settlement]:
    return lambda delivery: Settlement(
        delivery,
        publishing(rig.output, delivery),
        fallback=DeadLetterAddress(rig.letters, APP_ID),
    )


def dead_lettered(rig: Rig) -> Callable[[Delivery], Settlement]:
    """Return what makes each a dead letter, one of which RabbitMQ refuses for what it keeps."""

    def settlement(delivery: Delivery) -> Settlement:
        letter = dead_letter(
            delivery, queue=rig.letters, reason="too_deep", error="", broker_id=APP_ID
        )
        if delivery.body == GUILTY:
            letter = replace(letter, kept=b"\x01\x00\x04soon")
        return Settlement(delivery, letter, rejected="too_deep")

    return settlement


async def settle_all(rig: Rig, settlement: Callable[[Delivery], Settlement]) -> list[str]:
    """Open one session after the other until all is acknowledged; return how they were lost."""
    lost: list[str] = []
    while True:
        try:
            inbox = Inbox(settlement)
            # It waits for all that arrived to be acknowledged.
            async with rig.consuming(inbox):
                await inbox.holds(1)
        except SessionLostError as error:
            lost.append(str(error))
        else:
            return lost


async def test_the_guilty_one_is_found_at_the_cost_of_one_session(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    bystanders = [b"%d" % number for number in range(20)]
    await rig.raw.publish(rig.input, *bystanders[:10], GUILTY, GUILTY, *bystanders[10:])
    [lost] = await settle_all(rig, routed(rig))

    assert "invalid expiration" in lost
    assert await rig.raw.ready(rig.input) == 0
    # What the first session published may come twice.
    assert set(await rig.bodies(rig.output, await rig.raw.ready(rig.output))) == set(bystanders)
    letters = await rig.raw.take(rig.letters, 2)
    assert [letter.body for letter in letters] == [GUILTY, GUILTY]
    headers = letters[0].header.properties.headers or {}
    assert headers["x-broker-reason"] == "internal_error"
    assert "invalid expiration" in str(headers["x-broker-error"])
    assert rig.parameters.tally.dead_lettered["internal_error"] == 2


async def test_a_dead_letter_that_is_refused_for_what_it_keeps_keeps_it_in_its_body(
    rig: Rig,
) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, b"a", GUILTY, b"b")
    assert len(await settle_all(rig, dead_lettered(rig))) == 1

    whole = set(await rig.bodies(rig.letters, await rig.raw.ready(rig.letters)))
    assert {b"a", b"b"} < whole
    [bare] = whole - {b"a", b"b"}
    assert bare.endswith(GUILTY)
    assert rig.parameters.tally.dead_lettered["too_deep"] == 3
    assert await rig.raw.ready(rig.input) == 0


async def test_one_that_nobody_waits_for_any_more_is_not_blamed_on_the_next(
    portal: BlockingPortal, rig: Rig
) -> None:
    """As when its consumer is lost while it is under way."""
    await rig.raw.declare(rig.output)
    innocent = rig.to_output(b"innocent")
    guilty = replace(innocent, expiration="soon")

    async def scenario() -> PublishOutcome:
        opened = []

        async def connect() -> Connection:
            connection = Connection(rig.endpoint, name="test")
            opened.append(connection)
            await connection.open()
            return connection

        suspects = SuspectPublisher(connect, new_publisher, Refusals())
        await suspects.publish(innocent)
        abandoned = asyncio.create_task(suspects.publish(guilty))
        # It is written in the next turn of the event loop; RabbitMQ's answer is read in a later.
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
    connection.frames.add_taker(channel.number, ConfirmTaker(publisher))
    return publisher


async def test_publishing_many_of_them_takes_no_memory(portal: BlockingPortal, rig: Rig) -> None:
    def futures() -> int:
        gc.collect()
        return sum(isinstance(one, asyncio.Future) for one in gc.get_objects())

    async with rig.administer() as session:
        counts = []
        for _ in range(2):
            for _ in range(50):
                await session.publish_apart(rig.to_output(b""))
            counts.append(portal.call(futures))
    assert counts[1] - counts[0] < 50
