"""Dead letters in a quorum queue, which counts every look at a message as a return."""

from broker.amqp import Rabbit, SessionParameters
from broker.amqp.admin import open_admin_session
from broker.cli.dead_letters.letter import Letter
from broker.cli.dead_letters.window import windows
from broker.net.endpoints import parse_amqp_urls
from tests.amqp.conftest import Queues
from tests.lab.amqp_client import AmqpClient
from tests.lab.limits import limited
from tests.lab.rabbitmq_node import RabbitmqNode

LOOKS = 25
"""RabbitMQ 4 drops a message at its 21st return, and every version where a limit is set."""
MANY = 230
"""More than two windows."""


async def look(rabbit: Rabbit, parameters: SessionParameters, queue: str) -> list[Letter]:
    """Look at all letters in a session of its own, as a command does."""
    async with open_admin_session(rabbit, parameters) as session:
        return [
            letter
            async for window in windows(session, queue, is_wanted=lambda _: True, limit=None)
            for letter in window.chosen
        ]


async def test_dead_letters_may_be_looked_at_any_number_of_times(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: AmqpClient
) -> None:
    arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 20}
    await raw.declare(queues.parked, **arguments)
    expected = [b"%d" % number for number in range(MANY)]
    await raw.publish(queues.parked, *expected)
    for _ in range(LOOKS):
        seen = await look(rabbit, parameters, queues.parked)
        assert sorted(letter.message.body for letter in seen) == sorted(expected)
        assert sorted(letter.number for letter in seen) == list(range(1, MANY + 1))
    assert await raw.ready(queues.parked) == MANY


async def test_one_that_is_too_large_by_now_can_still_be_looked_at(
    rabbit: Rabbit, queues: Queues, fragile_node: RabbitmqNode
) -> None:
    raw = AmqpClient(fragile_node.url)
    (endpoint,) = parse_amqp_urls(fragile_node.url)
    parameters = SessionParameters(endpoint, name="test")
    await raw.declare(queues.parked, **{"x-queue-type": "quorum"})
    await raw.publish(queues.parked, b"x" * 2000, b"small")
    async with limited(fragile_node, "max_message_size", 1000):
        for _ in range(13):
            seen = await look(rabbit, parameters, queues.parked)
            assert sorted(len(letter.message.body) for letter in seen) == [5, 2000]
