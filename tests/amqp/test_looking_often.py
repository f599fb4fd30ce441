"""Dead letters in a quorum queue, which counts every look at a message as a return."""

from anyio.from_thread import BlockingPortal

from broker.amqp import SessionParameters, open_session
from broker.commands.dead_letters.window import windows
from tests.amqp.conftest import Queues
from tests.amqp.raw_amqp import RawRabbitmq

LOOKS = 25
"""RabbitMQ 4 drops a message at its 21st return, and every version where a limit is set."""
MANY = 230
"""More than two windows."""


async def test_dead_letters_may_be_looked_at_any_number_of_times(
    portal: BlockingPortal, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 20}
    await raw.declare(queues.parked, **arguments)
    expected = [b"%d" % number for number in range(MANY)]
    await raw.publish(queues.parked, *expected)
    for _ in range(LOOKS):
        async with open_session(portal, parameters) as session:
            seen = [
                letter
                async for window in windows(
                    session, queues.parked, is_wanted=lambda _: True, limit=None
                )
                for letter in window.chosen
            ]
        assert sorted(letter.message.body for letter in seen) == sorted(expected)
        assert sorted(letter.number for letter in seen) == list(range(1, MANY + 1))
    assert await raw.ready(queues.parked) == MANY
