"""How many messages wait, as RabbitMQ says, without getting in the way of anything."""

from functools import partial

from broker.amqp.queue_history import QueueCounts
from tests.amqp.rig import Rig
from tests.lab.eventually import eventually


async def test_messages_and_consumers_are_counted(rig: Rig) -> None:
    async with rig.open(watched=dict.fromkeys((rig.input, "missing", rig.letters), 0.1)) as session:
        counted = partial(eventually, lambda: dict(session.counts), "the counts")
        nothing = QueueCounts(0, 0)
        await counted(until=lambda seen: seen == {rig.input: nothing, rig.letters: nothing})
        await rig.raw.publish(rig.input, b"1", b"2")
        await counted(until=lambda seen: seen[rig.input] == QueueCounts(2, 0))
        await rig.raw.delete(rig.letters)
        await counted(until=lambda seen: rig.letters not in seen)
        await rig.raw.declare(rig.letters)
        await counted(until=lambda seen: seen.get(rig.letters) == nothing)


async def test_nothing_is_counted_unless_asked_for(rig: Rig) -> None:
    async with rig.open() as session:
        await rig.raw.publish(rig.input, b"1")
        assert not session.counts


async def test_whether_a_queue_exists(rig: Rig) -> None:
    async with rig.open() as session:
        assert await session.has_queue(rig.input)
        assert not await session.has_queue(f"{rig.input}-missing")
        assert not await session.has_queue(f"{rig.input}-missing"), "it was not created"
