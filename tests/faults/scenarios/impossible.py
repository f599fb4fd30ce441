"""Messages that RabbitMQ, or the size of a frame, makes impossible to publish."""

from collections.abc import Sequence
from contextlib import suppress

import trio

from tests.faults.arena import Arena
from tests.faults.checker import Allowed, Parking
from tests.faults.failure import ScenarioFailedError
from tests.faults.impossible import ORDEALS, Impossible, Maker, Ordeal
from tests.faults.poison import Poison
from tests.faults.scenario import Scenario

_QUEUE_TYPES = ("classic", "quorum")
_CROWD = 1_000
"""Ordinary messages for each that is not."""
_START_TIMEOUT = 30.0
_POLL_INTERVAL = 0.2


async def impossible_messages(arena: Arena) -> Allowed:
    """Set each limit in turn, with what it makes impossible in the queue and in the load."""
    lost = 0
    for queue_type in _QUEUE_TYPES:
        await arena.client.delete([arena.queues.input])
        await arena.client.declare([arena.queues.input], **{"x-queue-type": queue_type})
        await _restart(arena, "")
        for ordeal in ORDEALS:
            lost += await _stand(arena, ordeal)
    return Allowed(duplicates=lost * arena.prefetch)


async def _stand(arena: Arena, ordeal: Ordeal) -> int:
    """Let a broker meet all of an ordeal, and return how many sessions it lost."""
    for number, one in _made(arena, ordeal.before):
        await arena.fill(10)
        await _publish(arena, number, one)
    await _restart(arena, f"{ordeal.config}\n")
    rounds = 5 if arena.is_long else 1
    # Made before the load begins, which takes numbers as well.
    hostile = [one for _ in range(rounds) for one in _made(arena, ordeal.after)]
    await arena.broker.start()
    async with arena.load() as load:
        await arena.routing(within=_START_TIMEOUT)
        for number, one in hostile:
            await load.confirmed(len(arena.sent.confirmed) + _CROWD)
            await _publish(arena, number, one)
        await load.confirmed(len(arena.sent.confirmed) + _CROWD)
    await arena.drained()
    lost = arena.broker.times_logged("amqp_lost")
    if lost > 1:
        raise ScenarioFailedError(f"{ordeal.config}: {lost} sessions were lost in one life")
    code = await arena.broker.terminate()
    if code != 0:
        raise ScenarioFailedError(f"{ordeal.config}: the broker stopped with exit code {code}")
    return lost


def _made(arena: Arena, makers: Sequence[Maker]) -> list[tuple[int, Impossible]]:
    """Make messages, note what must come out, and return them numbered, in a random order."""
    sent = arena.sent
    made = []
    for make in makers:
        number = sent.attempted
        sent.attempted += 1
        one = make(number)
        body = one.content.body
        if isinstance(one, Poison):
            sent.poison_attempted.add(body)
            sent.parkings[body] = Parking(one.name, one.reason, arena.queues.input)
        else:
            sent.odd_fields[number] = one.fields
        made.append((number, one))
    arena.random.shuffle(made)
    return made


async def _publish(arena: Arena, number: int, one: Impossible) -> None:
    await arena.client.publish(arena.queues.input, [one.content])
    if isinstance(one, Poison):
        arena.sent.poison_confirmed.add(one.content.body)
    else:
        arena.sent.confirmed.add(number)
    arena.fault()


async def _restart(arena: Arena, config: str) -> None:
    """Restart RabbitMQ with other limits, and wait until it has its queues again."""
    await arena.node.stop()
    arena.node.configure(config)
    await arena.node.start()
    with trio.move_on_after(_START_TIMEOUT):
        while True:
            with suppress(ConnectionError):
                await arena.client.look(arena.queues.input)
                return
            await trio.sleep(_POLL_INTERVAL)
    raise ScenarioFailedError(f"RabbitMQ had no input queue within {_START_TIMEOUT:g} s")


SCENARIOS = (
    Scenario(
        impossible_messages,
        fault="each kind of message that a limit of RabbitMQ makes impossible, one in a thousand",
        promise="one session lost in a broker's life at most; dead-lettered, if need be in parts",
        has_own_node=True,
    ),
)
