"""An operator's hand: queues deleted, rights taken, connections closed, limits set."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio
from yarl import URL

from tests.faults.arena import Arena
from tests.faults.checker import Allowed, Parking
from tests.faults.failure import ScenarioFailedError
from tests.faults.proxy import Toward
from tests.faults.scenario import Scenario

_RATE = 700
_LIFE = (0.5, 1.5)
_RECOVERY = 15.0
_LONG_RECOVERY = 30.0
"""After a long outage, or many in a row, the broker tries only every 10 s or so."""
_TIMEOUT = 60.0
_POLL_INTERVAL = 0.1
_QUIET = 0.5
"""Seconds within which all that is past the proxy has come through RabbitMQ."""
_POISON_INTERVAL = 0.02
_MOST_OUTPUT = 500
_USER, _PASSWORD = "chaos-broker", "chaos"
_ALL, _NOTHING = ".*", ""
_ACKNOWLEDGEMENT_TIMEOUT_MS = 3_000


async def output_queue_deleted(arena: Arena) -> Allowed:
    """Delete the output queue under load: at first one that the operator made in his own way."""
    output = arena.queues.output
    await arena.client.delete([output])
    await arena.client.declare([output], **{"x-max-length": 1_000_000})
    await arena.broker.start()
    async with arena.load(_RATE), arena.collecting(output):
        for _ in range(20 if arena.is_long else 4):
            await arena.routing()
            await _delete_empty(arena, output)
            await arena.routing(within=_RECOVERY, since=trio.current_time())
    _check_connection(arena)
    return Allowed(duplicates=0)


async def dead_letter_queue_deleted(arena: Arena) -> Allowed:
    """Delete the dead-letter queue while poison comes."""
    dead_letter = arena.queues.dead_letter
    await arena.broker.start()
    async with arena.load(_RATE) as load, arena.collecting(dead_letter):

        async def poison() -> None:
            number = 0
            while True:
                body = b"poison %d" % number
                arena.sent.parkings[body] = Parking(
                    body.decode(), "invalid_json", arena.queues.input
                )
                load.add_poison(body)
                number += 1
                await trio.sleep(_POISON_INTERVAL)

        async with trio.open_nursery() as poisoning:
            poisoning.start_soon(poison)
            for _ in range(20 if arena.is_long else 4):
                await _more_collected(arena, dead_letter)
                await _delete_empty(arena, dead_letter)
                await _more_collected(arena, dead_letter)
            poisoning.cancel_scope.cancel()
    _check_connection(arena)
    return Allowed(duplicates=0)


async def consumed_queues_deleted(arena: Arena) -> Allowed:
    """Delete each queue that is consumed: the input when it is empty, the others under load.

    RabbitMQ cancels the consumer then. What was in the input queue would be gone with it.
    """
    rounds = 3 if arena.is_long else 1
    await arena.broker.start()
    for _ in range(rounds):
        async with arena.load(_RATE):
            await arena.routing()
            for queue in (arena.queues.metadata, arena.queues.advertisement):
                await _delete_consumed(arena, queue)
                await arena.routing()
        await arena.drained()
        await _delete_consumed(arena, arena.queues.input)
    async with arena.load(_RATE):
        await arena.routing()
    return Allowed(duplicates=2 * rounds * arena.prefetch)


async def connections_closed(arena: Arena) -> Allowed:
    """Let RabbitMQ close all connections under load, again and again."""
    rounds = 8 if arena.is_long else 3
    await arena.broker.start()
    async with arena.load(_RATE):
        for _ in range(rounds):
            await arena.routing()
            await trio.sleep(arena.random.uniform(*_LIFE))
            await arena.node.ctl("close_all_connections", "chaos")
            arena.fault()
            await arena.routing(within=_recovery(arena), since=trio.current_time())
    return Allowed(duplicates=rounds * arena.prefetch)


async def rights_taken(arena: Arena) -> Allowed:
    """Take the broker's right to write, then to read, and give it back (403)."""
    await arena.node.ctl("add_user", _USER, _PASSWORD)
    await _grant(arena, write=_ALL, read=_ALL)
    url = URL(arena.node.url).with_port(arena.amqp.port)
    await arena.broker.start(AMQP_URL=str(url.with_user(_USER).with_password(_PASSWORD)))
    async with arena.load(_RATE):
        for write, read in ((_NOTHING, _ALL), (_ALL, _NOTHING)):
            await arena.routing()
            await _grant(arena, write=write, read=read)
            # RabbitMQ remembers for each channel what it has checked.
            arena.amqp.cut()
            arena.fault()
            await _lost_again(arena, 2)
            routed = await arena.routed()
            await trio.sleep(20 if arena.is_long else 1)
            if await arena.routed() != routed:
                raise ScenarioFailedError("messages were routed without the right to do so")
            await _grant(arena, write=_ALL, read=_ALL)
            await arena.routing(within=_recovery(arena), since=trio.current_time())
    lost = _times_lost(arena)
    return Allowed(duplicates=lost * arena.prefetch)


async def output_full(arena: Arena) -> Allowed:
    """Let the output queue refuse what is too much for it, and empty it later."""
    output = arena.queues.output
    await _limit(arena, _MOST_OUTPUT)
    try:
        await arena.broker.start()
        async with arena.load(100):
            for _ in range(2 if arena.is_long else 1):
                await arena.fill(1_500)
                await _full(arena)
                arena.fault()
                await trio.sleep(45 if arena.is_long else 2)
                await _check_nothing_vanished(arena)
                async with arena.collecting(output):
                    await arena.routing(within=_LONG_RECOVERY, since=trio.current_time())
                    await _input_empty(arena)
        async with arena.collecting(output):
            await arena.drained()
    finally:
        await arena.node.ctl("clear_policy", output)
    _check_connection(arena)
    return Allowed(duplicates=0)


async def acknowledgement_timeout(arena: Arena) -> Allowed:
    """Let RabbitMQ lose its patience with acknowledgements while the output queue is full."""
    await arena.node.ctl(
        "eval",
        "application:set_env(rabbit, channel_tick_interval, 1000),"
        f"application:set_env(rabbit, consumer_timeout, {_ACKNOWLEDGEMENT_TIMEOUT_MS}).",
    )
    await _limit(arena, _MOST_OUTPUT)
    await arena.broker.start()
    await arena.fill(3_000)
    await _full(arena)
    for _ in range(6 if arena.is_long else 2):
        await _lost_again(arena, 1)
        arena.fault()
    await arena.node.ctl("clear_policy", arena.queues.output)
    await arena.routing(within=_LONG_RECOVERY, since=trio.current_time())
    await arena.drained()
    lost = _times_lost(arena)
    return Allowed(duplicates=lost * arena.prefetch)


async def _delete_empty(arena: Arena, queue: str) -> None:
    """Delete a queue that is being collected from, with nothing in it and nothing on its way.

    RabbitMQ confirms what reaches a queue while that is being deleted, and it is gone. That would
    be the operator's doing.
    """
    arena.amqp.stall(Toward.SERVER)
    await trio.sleep(_QUIET)
    await _until(lambda: arena.client.delete_if_empty(queue), f"{queue} was never empty")
    arena.amqp.heal()
    arena.fault()


async def _delete_consumed(arena: Arena, queue: str) -> None:
    await arena.client.delete([queue])
    arena.fault()
    deleted = trio.current_time()

    async def is_consumed() -> bool:
        with suppress(ConnectionError):  # it is not there yet
            return (await arena.client.look(queue)).consumers > 0
        return False

    await _until(is_consumed, f"nobody consumed {queue} again", within=_recovery(arena))
    arena.figures.recoveries.append(trio.current_time() - deleted)


async def _more_collected(arena: Arena, queue: str) -> None:
    before = arena.collected(queue)

    async def is_more() -> bool:
        return arena.collected(queue) > before

    await _until(is_more, f"nothing came to {queue}", within=_RECOVERY)


async def _lost_again(arena: Arena, times: int) -> None:
    before = _times_lost(arena)

    async def is_lost() -> bool:
        return _times_lost(arena) >= before + times

    await _until(is_lost, "the broker has lost neither its session nor a consumer")


def _times_lost(arena: Arena) -> int:
    """Return how often a session or a consumer was lost; either returns a prefetch."""
    return sum(arena.broker.times_logged(event) for event in ("amqp_lost", "consumer_lost"))


async def _full(arena: Arena) -> None:
    async def is_full() -> bool:
        return (await arena.client.look(arena.queues.output)).ready >= _MOST_OUTPUT

    await _until(is_full, "the output queue was never full")


async def _input_empty(arena: Arena) -> None:
    async def is_empty() -> bool:
        return (await arena.client.look(arena.queues.input)).ready < arena.prefetch

    await _until(is_empty, "the input queue was never empty")


async def _check_nothing_vanished(arena: Arena) -> None:
    """Check that nothing is acknowledged that the output queue refused."""
    confirmed = len(arena.sent.confirmed)
    routed = await arena.routed()
    held = await arena.unacknowledged(arena.queues.input)
    waiting = (await arena.client.look(arena.queues.input)).ready
    if not 0 < held <= arena.prefetch:
        raise ScenarioFailedError(f"the broker held {held} messages")
    if waiting + held + routed < confirmed:
        raise ScenarioFailedError(
            f"{confirmed} messages were sent, and there are {routed} in the output queue, {held} "
            f"with the broker and {waiting} in the input queue"
        )


def _recovery(arena: Arena) -> float:
    return _LONG_RECOVERY if arena.is_long else _RECOVERY


def _check_connection(arena: Arena) -> None:
    if arena.broker.has_logged("amqp_lost"):
        raise ScenarioFailedError("the broker has lost its session")


async def _limit(arena: Arena, most: int) -> None:
    output = arena.queues.output
    definition = f'{{"max-length": {most}, "overflow": "reject-publish"}}'
    await arena.node.ctl("set_policy", output, f"^{output}$", definition, "--apply-to", "queues")


async def _grant(arena: Arena, *, write: str, read: str) -> None:
    await arena.node.ctl("set_permissions", _USER, _ALL, write, read)


async def _until(
    condition: Callable[[], Awaitable[bool]], complaint: str, *, within: float = _TIMEOUT
) -> None:
    with trio.move_on_after(within):
        while not await condition():
            await trio.sleep(_POLL_INTERVAL)
        return
    raise ScenarioFailedError(f"{complaint} within {within:g} s")


SCENARIOS = (
    Scenario(
        output_queue_deleted,
        fault="the output queue is deleted under load",
        promise="it is created anew, with no connection lost; no duplicates",
    ),
    Scenario(
        dead_letter_queue_deleted,
        fault="the dead-letter queue is deleted while poison comes",
        promise="it is created anew, with no connection lost; no duplicates",
    ),
    Scenario(
        consumed_queues_deleted,
        fault="the input queue is deleted when it is empty, the server's queues under load",
        promise=f"consumed again within {_RECOVERY:g} s; a prefetch of duplicates each",
    ),
    Scenario(
        connections_closed,
        fault="RabbitMQ closes all connections, again and again",
        promise=f"routing again within {_RECOVERY:g} s; a prefetch of duplicates each",
    ),
    Scenario(
        rights_taken,
        fault="the broker's right to write, then to read, is taken for a while",
        promise=f"routing {_RECOVERY:g} s after it is back; a prefetch of duplicates each time",
        has_own_node=True,
    ),
    Scenario(
        output_full,
        fault="the output queue refuses messages (reject-publish) until it is emptied",
        promise="what it refused is held and tried again; no duplicates, no connection lost",
    ),
    Scenario(
        acknowledgement_timeout,
        fault="RabbitMQ's consumer timeout strikes while the output queue refuses messages",
        promise="the queue is consumed again; a prefetch of duplicates each time",
        has_own_node=True,
    ),
)
