"""Looking into a queue of a real RabbitMQ, and what is published once."""

import pytest

from broker.amqp import Publishing, PublishOutcome
from tests.amqp.inbox import APP_ID
from tests.amqp.rig import Rig, losing

BODIES = [b"1", b"", b"3" * 200_000, b"4", b"5"]
QUORUM: dict[str, str | int] = {"x-queue-type": "quorum"}
FULL: dict[str, str | int] = {"x-max-length": 0, "x-overflow": "reject-publish"}


async def test_what_is_not_acknowledged_returns_to_its_place(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, *BODIES)
    async with rig.administer() as session:
        first = await session.get(rig.input, 2)
        others = await session.get(rig.input, 10)
        assert [one.body for one in (*first, *others)] == BODIES
        assert first[0].behind == 4
        assert await session.get(rig.input, 1) == []
        await session.acknowledge(rig.input, [others[0], others[2]])
    assert await rig.bodies(rig.input, 3) == [b"1", b"", b"4"]


async def test_what_is_acknowledged_is_gone_from_a_quorum_queue_on_return(rig: Rig) -> None:
    """RabbitMQ keeps acknowledgements back while a quorum queue is busy with others."""
    await rig.raw.declare(rig.input, **QUORUM)
    bodies = [b"%d" % number for number in range(1000)]
    await rig.raw.publish(rig.input, *bodies)
    for _ in range(4):
        async with rig.administer() as session:
            got = await session.get(rig.input, 200)
            await session.acknowledge(rig.input, got)
            for one in got:
                bodies.remove(one.body)
    assert sorted(await rig.bodies(rig.input, len(bodies))) == sorted(bodies)


async def test_publishes_once_and_tells_what_came_of_it(rig: Rig) -> None:
    await rig.raw.declare(rig.letters, **FULL)
    await rig.raw.declare(rig.output)
    publishings = [
        Publishing(queue, b"x", APP_ID) for queue in (rig.output, rig.letters, rig.input)
    ]
    async with rig.administer() as session:
        assert await session.publish_once([]) == []
        outcomes = await session.publish_once(publishings)
    assert outcomes == [PublishOutcome.CONFIRMED, PublishOutcome.REFUSED, PublishOutcome.RETURNED]
    assert await rig.bodies(rig.output, 1) == [b"x"]
    with pytest.raises(Exception, match="no queue"):  # it was not created
        await rig.raw.ready(rig.input)


async def test_a_queue_that_is_missing(rig: Rig) -> None:
    with losing("no queue 'input-"):
        async with rig.administer() as session:
            await session.get(rig.input, 5)
