"""Messages that RabbitMQ, or the size of a frame, makes impossible to publish."""

from collections.abc import Sequence

from tests.faults.checker import Allowed, Label
from tests.faults.environment import Environment
from tests.faults.impossible import ORDEALS, Impossible, Maker, Ordeal
from tests.faults.poison import Poison
from tests.faults.scenario import scenario
from tests.lab.limits import limited

_QUEUE_TYPES = ("classic", "quorum")
_CROWD = 1_000
"""Ordinary messages for each that is not."""
_START_TIMEOUT = 30.0


@scenario(
    fault="every kind of message that a limit of RabbitMQ makes unpublishable, one in a thousand",
    promise="at most one session lost per broker run; dead-lettered, in parts if necessary",
)
async def impossible_messages(env: Environment) -> Allowed:
    lost = 0
    queue_types = _QUEUE_TYPES if env.is_long else (env.random.choice(_QUEUE_TYPES),)
    for queue_type in queue_types:
        await env.client.delete(env.queues.input)
        await env.client.declare(env.queues.input, **{"x-queue-type": queue_type})
        for ordeal in ORDEALS:
            lost += await _stand(env, ordeal)
    return Allowed(duplicates=lost * env.prefetch)


async def _stand(env: Environment, ordeal: Ordeal) -> int:
    """Let a broker meet all of an ordeal, and return how many sessions it lost."""
    for number, one in _made(env, ordeal.before):
        await env.fill(10)
        await _publish(env, number, one)
    # Made before the load begins, which takes numbers as well.
    hostile = [one for _ in range(5 if env.is_long else 1) for one in _made(env, ordeal.after)]
    async with limited(env.node, ordeal.limit, ordeal.value):
        await env.broker.start()
        async with env.load(2_000) as load:
            await env.routing(within=_START_TIMEOUT)
            for number, one in hostile:
                await load.confirmed(len(env.sent.confirmed) + _CROWD)
                await _publish(env, number, one)
            await load.confirmed(len(env.sent.confirmed) + _CROWD)
        await env.drained()
        lost = env.broker.times_logged("amqp_lost")
        assert lost <= 1, f"{ordeal.name}: {lost} sessions were lost in one life"
        await env.broker.stop()
    return lost


def _made(env: Environment, makers: Sequence[Maker]) -> list[tuple[int, Impossible]]:
    """Make messages, note what must come out, and return them numbered, in a random order."""
    sent = env.sent
    made = []
    for make in makers:
        number = sent.attempted
        sent.attempted += 1
        one = make(number)
        body = one.content.body
        if isinstance(one, Poison):
            sent.poison_attempted.add(body)
            sent.labels[body] = Label(one.name, one.reason, env.queues.input)
        else:
            sent.odd_fields[number] = one.fields
        made.append((number, one))
    env.random.shuffle(made)
    return made


async def _publish(env: Environment, number: int, one: Impossible) -> None:
    await env.client.publish_content(env.queues.input, one.content)
    if isinstance(one, Poison):
        env.sent.poison_confirmed.add(one.content.body)
    else:
        env.sent.confirmed.add(number)
    env.fault()
