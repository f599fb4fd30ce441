"""Tests of the node that other tests command."""

import trio

from tests.lab.rabbitmq_node import RabbitmqNode

PATIENCE = 60.0
"""Nothing here takes this long; it turns a hang into a failure."""


async def test_one_node_takes_commands_at_the_same_time(rabbitmq: RabbitmqNode) -> None:
    answers: dict[int, str] = {}

    async def ask(number: int) -> None:
        answers[number] = await rabbitmq.ctl("eval", f"{number}.")

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(ask, number)

    assert answers == {number: str(number) for number in range(30)}
