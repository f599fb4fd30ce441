"""Dead letters in a quorum queue, which counts every look at a message as a return."""

import pytest
from anyio.from_thread import BlockingPortal

from broker.cli.dead_letters.letter import Letter
from broker.cli.dead_letters.window import windows
from tests.amqp.rig import Rig
from tests.lab.limits import limited
from tests.lab.rabbitmq_node import RabbitmqNode

LOOKS = 25
"""RabbitMQ 4 drops a message at its 21st return, and every version where a limit is set."""
MANY = 230
"""More than two windows."""


async def look(rig: Rig) -> list[Letter]:
    """Look at all letters in a session of its own, as a command does."""
    async with rig.administer() as session:
        return [
            letter
            async for window in windows(session, rig.letters, is_wanted=lambda _: True, limit=None)
            for letter in window.chosen
        ]


@pytest.mark.exhaustive
async def test_dead_letters_may_be_looked_at_any_number_of_times(rig: Rig) -> None:
    arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 20}
    await rig.raw.declare(rig.letters, **arguments)
    expected = [b"%d" % number for number in range(MANY)]
    await rig.raw.publish(rig.letters, *expected)
    for _ in range(LOOKS):
        seen = await look(rig)
        assert sorted(letter.message.body for letter in seen) == sorted(expected)
        assert sorted(letter.number for letter in seen) == list(range(1, MANY + 1))
    assert await rig.raw.ready(rig.letters) == MANY


async def test_one_that_is_too_large_by_now_can_still_be_looked_at(
    portal: BlockingPortal, rabbitmq: RabbitmqNode
) -> None:
    rig = Rig.of(portal, rabbitmq.url)
    await rig.raw.declare(rig.letters, **{"x-queue-type": "quorum"})
    await rig.raw.publish(rig.letters, b"x" * 2000, b"small")
    async with limited(rabbitmq, "max_message_size", 1000):
        for _ in range(13):
            seen = await look(rig)
            assert sorted(len(letter.message.body) for letter in seen) == [5, 2000]
