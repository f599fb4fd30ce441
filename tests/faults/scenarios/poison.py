"""Messages made to hurt, among those of everybody else."""

from collections.abc import Sequence
from itertools import batched

import trio

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
from tests.faults.scenario import Scenario
from tests.lab.raw_content import Content

_CROWD = 100
"""Ordinary messages for each that is not."""
_BATCH = 20
"""How many that are not ordinary are published in one go, with the crowd between them."""
_ROUTED_TIMEOUT = 60.0
_POLL_INTERVAL = 0.1


async def poisoned_input(env: Environment) -> Allowed:
    """Mix all of the catalogue into the input queue, one in a hundred."""
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
    if copied:
        raise AssertionError(f"{copied} messages were copied to where their sender wanted")
    _check_connection(env)
    return Allowed(duplicates=0, disorder=False)


async def poisoned_server_queues(env: Environment) -> Allowed:
    """Put all of the catalogue into the queues of the server, one after the other, under load."""
    metadata, advertisement = env.queues.metadata, env.queues.advertisement
    await env.broker.start()
    async with env.load(700):
        await env.routing()
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
        if left := await env.unacknowledged(queue):
            raise AssertionError(f"{left} messages of {queue} are not settled")
    _check_connection(env)
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
    """Wait until all poison that was sent has been dead-lettered."""
    sent = len(env.sent.poison_confirmed)
    dead_letters = 0
    with trio.move_on_after(_ROUTED_TIMEOUT):
        while dead_letters < sent:
            dead_letters = (await env.client.look(env.queues.dead_letter)).ready
            await trio.sleep(_POLL_INTERVAL)
        return
    raise AssertionError(
        f"{dead_letters} of {sent} were dead-lettered within {_ROUTED_TIMEOUT:g} s"
    )


def _check_connection(env: Environment) -> None:
    for event in ("amqp_lost", "decision_failed"):
        if env.broker.has_logged(event):
            raise AssertionError(f"the broker has logged {event!r}")


SCENARIOS = (
    Scenario(
        poisoned_input,
        fault="hostile bodies and AMQP properties, one message in a hundred",
        promise="each dead-lettered as it came, with its reason; others in order, no session lost",
    ),
    Scenario(
        poisoned_server_queues,
        fault="hostile bodies and AMQP properties in the queues of the server, under load",
        promise="each dead-lettered as it came, with its reason; others in order, no session lost",
    ),
)
