"""An alarm, a frozen node, a killed one."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from broker.amqp import AmqpTimeouts, Session, SessionLostError
from tests.amqp.rig import CLOSING, Rig
from tests.lab.limits import alarmed
from tests.lab.rabbitmq_node import RabbitmqNode

CONFIRM_TIMEOUT = 2.0


@pytest.mark.exhaustive
@pytest.mark.rabbitmq_version
async def test_alarms_frozen_and_killed_nodes(rig: Rig, rabbitmq: RabbitmqNode) -> None:
    impatient = rig.with_parameters(timeouts=AmqpTimeouts(connect=0.5, confirm=0.5))
    try:
        # An alarm stops publishing for as long as it lasts, and is no loss.
        patient = AmqpTimeouts(confirm=CONFIRM_TIMEOUT)
        async with rig.open(timeouts=patient) as session, trio.open_nursery() as nursery:
            published = trio.Event()
            async with alarmed(rabbitmq):
                nursery.start_soon(publish, rig, session, published)
                await blocked(session)
                await trio.sleep(1.5 * CONFIRM_TIMEOUT)
                assert not published.is_set()
            await published.wait()

        # It does not hold up the end either: RabbitMQ reads no farewell from the connection.
        async with alarmed(rabbitmq):
            await publish_and_end(rig)

        # A node that hangs.
        with pytest.raises(SessionLostError, match="RabbitMQ confirmed nothing"):
            await publish_after(rabbitmq.pause, impatient)
        with pytest.raises(SessionLostError, match="no answer in time"):
            await publish_after(rabbitmq.pause, impatient)
        await rabbitmq.resume()

        # A node that is killed.
        with pytest.raises(SessionLostError):
            await publish_after(rabbitmq.kill, rig)
    finally:
        # The loss of the session may have come before the end of the kill.
        await rabbitmq.kill()
        await rabbitmq.start()


async def blocked(session: Session) -> None:
    """Wait until RabbitMQ has said that it takes no messages."""
    while not session.is_blocked:
        await trio.sleep(0.02)


async def publish(rig: Rig, session: Session, published: trio.Event) -> None:
    await session.publish([rig.to_output(b"a")])
    published.set()


async def publish_and_end(rig: Rig) -> None:
    with trio.CancelScope() as closing:
        async with rig.open() as session, trio.open_nursery() as nursery:
            nursery.start_soon(publish, rig, session, trio.Event())
            await blocked(session)
            closing.deadline = trio.current_time() + CLOSING
            nursery.cancel_scope.cancel()
        return
    pytest.fail("it took too long")


async def publish_after(happening: Callable[[], Awaitable[None]], rig: Rig) -> None:
    async with rig.open() as session:
        await happening()
        await session.publish([rig.to_output(b"a")])
