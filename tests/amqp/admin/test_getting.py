"""Looking into a queue, and publishing once, through a real session."""

import msgspec
import pytest
import trio

from broker.amqp import Publishing, PublishOutcome, Rabbit, SessionLostError, SessionParameters
from broker.amqp.admin import open_admin_session
from tests.amqp.conftest import Queues
from tests.amqp.inbox import APP_ID
from tests.lab.amqp_client import AmqpClient

PATIENCE = 30.0
BODIES = [b"1", b"", b"3" * 300_000, b"4", b"5"]


async def test_what_is_not_acknowledged_returns_to_its_place(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: AmqpClient
) -> None:
    await raw.declare(queues.input)
    await raw.publish(queues.input, *BODIES)
    with trio.fail_after(PATIENCE):
        async with open_admin_session(rabbit, parameters) as session:
            first = await session.get(queues.input, 2)
            others = await session.get(queues.input, 10)
            assert [one.body for one in (*first, *others)] == BODIES
            assert first[0].behind == 4
            assert await session.get(queues.input, 1) == []
            await session.acknowledge(queues.input, [others[0], others[2]])
        while await raw.ready(queues.input) < 3:
            await trio.sleep(0.05)
    left = await raw.take(queues.input, 3)
    assert [message.body for message in left] == [b"1", b"", b"4"]


async def test_what_is_acknowledged_is_gone_from_a_quorum_queue_on_return(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: AmqpClient
) -> None:
    """RabbitMQ keeps acknowledgements back while a quorum queue is busy with others."""
    arguments: dict[str, str | int] = {"x-queue-type": "quorum"}
    await raw.declare(queues.input, **arguments)
    bodies = [b"%d" % number for number in range(1000)]
    await raw.publish(queues.input, *bodies)
    with trio.fail_after(PATIENCE):
        for _ in range(4):
            async with open_admin_session(rabbit, parameters) as session:
                got = await session.get(queues.input, 200)
                await session.acknowledge(queues.input, got)
                for one in got:
                    bodies.remove(one.body)
        while await raw.ready(queues.input) < len(bodies):
            await trio.sleep(0.05)
    left = await raw.take(queues.input, await raw.ready(queues.input))
    assert sorted(message.body for message in left) == sorted(bodies)


async def test_publishes_once_and_tells_what_came_of_it(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: AmqpClient
) -> None:
    full: dict[str, str | int] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    await raw.declare(queues.parked, **full)
    await raw.declare(queues.output)
    missing = msgspec.structs.replace(parameters, queues=())
    publishings = [
        Publishing(queue, b"x", APP_ID) for queue in (queues.output, queues.parked, queues.input)
    ]
    with trio.fail_after(PATIENCE):
        async with open_admin_session(rabbit, missing) as session:
            assert await session.publish_once([]) == []
            outcomes = await session.publish_once(publishings)
    assert outcomes == [PublishOutcome.CONFIRMED, PublishOutcome.REFUSED, PublishOutcome.RETURNED]
    [message] = await raw.take(queues.output, 1)
    assert message.body == b"x"
    with pytest.raises(Exception, match="no queue"):  # it was not created
        await raw.ready(queues.input)


async def test_a_queue_that_is_missing(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues
) -> None:
    missing = msgspec.structs.replace(parameters, queues=())
    with trio.fail_after(PATIENCE), pytest.raises(SessionLostError, match="no queue 'input-"):
        async with open_admin_session(rabbit, missing) as session:
            await session.get(queues.input, 5)
