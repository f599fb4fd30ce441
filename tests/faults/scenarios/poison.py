"""Messages made to hurt, among those of everybody else."""

from collections.abc import Sequence
from functools import partial
from itertools import batched
from operator import not_

from tests.faults import chat
from tests.faults.checker import Allowed, Label
from tests.faults.environment import Environment
from tests.faults.poison import (
    Poison,
    advertisement_poison,
    input_poison,
    metadata_poison,
    oddities,
)
from tests.faults.scenario import scenario
from tests.lab.eventually import eventually
from tests.lab.raw_content import Content

_CROWD = 100
"""Ordinary messages for each that is not."""
_BATCH = 20
"""How many that are not ordinary are published in one go, with the crowd between them."""
_ROUTED_TIMEOUT = 60.0


@scenario(
    fault="hostile bodies and AMQP properties, one message in a hundred",
    promise="each dead-lettered unchanged with its reason; others in order, no session lost",
)
async def poisoned_input(env: Environment) -> Allowed:
    victim = f"{env.queues.input}_victim"
    await env.client.declare(victim)
    try:
        await env.broker.start()
        for mark in range(5 if env.is_long else 1):
            poisons = list(input_poison(mark))
            env.random.shuffle(poisons)
            hostile = [_poisoned(env, poison, env.queues.input) for poison in poisons]
            for some in batched(hostile, _BATCH, strict=False):
                await _publish_among_others(env, some)
            await _publish_oddities(env, victim)
        await env.drained()
        copied = await env.client.ready(victim)
    finally:
        await env.client.delete(victim)
    assert not copied, f"{copied} messages were copied to where their sender wanted"
    env.broker.must_not_have_logged("amqp_lost", "decision_failed")
    return Allowed(duplicates=0, disorder=False)


@scenario(
    fault="hostile bodies and AMQP properties in the queues of the server, under load",
    promise="each dead-lettered unchanged with its reason; others in order, no session lost",
)
async def poisoned_server_queues(env: Environment) -> Allowed:
    metadata, advertisement = env.queues.metadata, env.queues.advertisement
    async with env.broker_under_load(700):
        for mark in range(5 if env.is_long else 1):
            # The bodies must differ between the queues, too.
            for queue, poisons in (
                (metadata, metadata_poison(2 * mark)),
                (advertisement, advertisement_poison(2 * mark + 1)),
            ):
                shuffled = list(poisons)
                env.random.shuffle(shuffled)
                contents = [_poisoned(env, poison, queue) for poison in shuffled]
                await env.client.publish_content(queue, *contents)
                env.sent.poison_confirmed.update(content.body for content in contents)
            await _dead_lettered(env)
        await env.routing()
        for queue in (metadata, advertisement):
            # A dead letter is in its queue before the message is acknowledged.
            await eventually(
                partial(env.unsettled, queue), f"all of {queue} is settled", until=not_
            )
    env.broker.must_not_have_logged("amqp_lost", "decision_failed")
    return Allowed(duplicates=0, disorder=False)


def _poisoned(env: Environment, poison: Poison, queue: str) -> Content:
    body = poison.content.body
    if body in env.sent.poison_attempted:
        raise ValueError(f"the poison {poison.name!r} is in the catalogue twice")
    env.sent.poison_attempted.add(body)
    env.sent.labels[body] = Label(poison.name, poison.reason, queue)
    env.fault()
    return poison.content


async def _publish_among_others(env: Environment, hostile: Sequence[Content]) -> None:
    sent = env.sent
    numbers = range(sent.attempted, sent.attempted + _CROWD * len(hostile))
    sent.attempted = numbers.stop
    contents = []
    for index, content in enumerate(hostile):
        crowd = numbers[_CROWD * index : _CROWD * (index + 1)]
        contents += [*(Content(chat.body(number)) for number in crowd), content]
    await env.client.publish_content(env.queues.input, *contents)
    sent.confirmed.update(numbers)
    sent.poison_confirmed.update(content.body for content in hostile)


async def _publish_oddities(env: Environment, victim: str) -> None:
    sent = env.sent
    odd = list(oddities(sent.attempted, victim))
    numbers = range(sent.attempted, sent.attempted + len(odd))
    sent.attempted = numbers.stop
    sent.odd_fields.update(zip(numbers, (oddity.fields for oddity in odd), strict=True))
    await env.client.publish_content(env.queues.input, *(oddity.content for oddity in odd))
    sent.confirmed.update(numbers)
    env.figures.faults += len(odd)


async def _dead_lettered(env: Environment) -> None:
    sent = len(env.sent.poison_confirmed)
    await eventually(
        lambda: env.client.ready(env.queues.dead_letter),
        f"{sent} dead letters",
        until=lambda ready: ready >= sent,
        within=_ROUTED_TIMEOUT,
    )
