"""Messages made to hurt, among those of everybody else."""

from collections.abc import Sequence
from itertools import batched

import trio

from tests.faults import chat
from tests.faults.arena import Arena
from tests.faults.checker import Allowed, Parking
from tests.faults.failure import ScenarioFailedError
from tests.faults.poison import (
    Poison,
    advertisement_poison,
    input_poison,
    metadata_poison,
    oddities,
)
from tests.faults.raw_content import Content
from tests.faults.scenario import Scenario

_CROWD = 100
"""Ordinary messages for each that is not."""
_BATCH = 20
"""How many that are not ordinary are published in one go, with the crowd between them."""
_ROUTED_TIMEOUT = 60.0
_POLL_INTERVAL = 0.1


async def poisoned_input(arena: Arena) -> Allowed:
    """Mix all of the catalogue into the input queue, one in a hundred."""
    victim = f"{arena.queues.input}_victim"
    await arena.client.declare([victim])
    try:
        await arena.broker.start()
        for mark in range(5 if arena.is_long else 1):
            poisons = list(input_poison(mark))
            arena.random.shuffle(poisons)
            hostile = [_poisoned(arena, poison, arena.queues.input) for poison in poisons]
            for some in batched(hostile, _BATCH, strict=False):
                await _publish_among_others(arena, some)
            await _publish_oddities(arena, victim)
        await arena.drained()
        copied = (await arena.client.look(victim)).ready
    finally:
        await arena.client.delete([victim])
    if copied:
        raise ScenarioFailedError(f"{copied} messages were copied to where their sender wanted")
    _check_connection(arena)
    return Allowed(duplicates=0, disorder=False)


async def poisoned_server_queues(arena: Arena) -> Allowed:
    """Put all of the catalogue into the queues of the server, one after the other, under load."""
    metadata, advertisement = arena.queues.metadata, arena.queues.advertisement
    await arena.broker.start()
    async with arena.load(700):
        await arena.routing()
        for mark in range(5 if arena.is_long else 1):
            # The bodies must differ between the queues, too.
            for queue, poisons in (
                (metadata, metadata_poison(2 * mark)),
                (advertisement, advertisement_poison(2 * mark + 1)),
            ):
                shuffled = list(poisons)
                arena.random.shuffle(shuffled)
                contents = [_poisoned(arena, poison, queue) for poison in shuffled]
                await arena.client.publish(queue, contents)
                arena.sent.poison_confirmed.update(content.body for content in contents)
            await _parked(arena)
        await arena.routing()
    for queue in (metadata, advertisement):
        if left := await arena.unacknowledged(queue):
            raise ScenarioFailedError(f"{left} messages of {queue} are not settled")
    _check_connection(arena)
    return Allowed(duplicates=0, disorder=False)


def _poisoned(arena: Arena, poison: Poison, queue: str) -> Content:
    body = poison.content.body
    if body in arena.sent.poison_attempted:
        raise ValueError(f"the poison {poison.name!r} is in the catalogue twice")
    arena.sent.poison_attempted.add(body)
    arena.sent.parkings[body] = Parking(poison.name, poison.reason, queue)
    arena.fault()
    return poison.content


async def _publish_among_others(arena: Arena, hostile: Sequence[Content]) -> None:
    sent = arena.sent
    numbers = range(sent.attempted, sent.attempted + _CROWD * len(hostile))
    sent.attempted = numbers.stop
    contents = []
    for index, content in enumerate(hostile):
        crowd = numbers[_CROWD * index : _CROWD * (index + 1)]
        contents += [*(Content(chat.body(number)) for number in crowd), content]
    await arena.client.publish(arena.queues.input, contents)
    sent.confirmed.update(numbers)
    sent.poison_confirmed.update(content.body for content in hostile)


async def _publish_oddities(arena: Arena, victim: str) -> None:
    sent = arena.sent
    odd = list(oddities(sent.attempted, victim))
    numbers = range(sent.attempted, sent.attempted + len(odd))
    sent.attempted = numbers.stop
    sent.odd_fields.update(zip(numbers, (oddity.fields for oddity in odd), strict=True))
    await arena.client.publish(arena.queues.input, [oddity.content for oddity in odd])
    sent.confirmed.update(numbers)
    arena.figures.faults += len(odd)


async def _parked(arena: Arena) -> None:
    """Wait until all poison that was sent has been parked."""
    sent = len(arena.sent.poison_confirmed)
    parked = 0
    with trio.move_on_after(_ROUTED_TIMEOUT):
        while parked < sent:
            parked = (await arena.client.look(arena.queues.dead_letter)).ready
            await trio.sleep(_POLL_INTERVAL)
        return
    raise ScenarioFailedError(f"{parked} of {sent} were parked within {_ROUTED_TIMEOUT:g} s")


def _check_connection(arena: Arena) -> None:
    for event in ("amqp_lost", "decision_failed"):
        if arena.broker.has_logged(event):
            raise ScenarioFailedError(f"the broker has logged {event!r}")


SCENARIOS = (
    Scenario(
        poisoned_input,
        fault="hostile bodies and AMQP properties, one message in a hundred",
        promise="each parked as it came, with its reason; the others in order; no connection lost",
    ),
    Scenario(
        poisoned_server_queues,
        fault="hostile bodies and AMQP properties in the queues of the server, under load",
        promise="each parked as it came, with its reason; the others in order; no connection lost",
    ),
)
