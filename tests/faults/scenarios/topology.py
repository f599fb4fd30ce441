"""An operator's hand: queues deleted, rights taken, connections closed, limits set."""

from contextlib import suppress

import trio
from yarl import URL

from tests.faults.checker import Allowed, Label
from tests.faults.environment import Environment
from tests.faults.scenario import RECOVERY, scenario
from tests.lab.eventually import eventually
from tests.lab.limits import limited
from tests.lab.proxy import Toward

_RATE = 700
_LIFE = (0.5, 1.5)
_LONG_RECOVERY = 30.0
"""After a long outage, or many in a row, the broker tries only every 10 s or so."""
_TIMEOUT = 60.0
_QUIET = 0.5
"""Seconds within which all that is past the proxy has come through RabbitMQ."""
_POISON_INTERVAL = 0.02
_MOST_OUTPUT = 500
_PASSWORD = "chaos"
_ALL, _NOTHING = ".*", ""
_ACKNOWLEDGEMENT_TIMEOUT_MS = 3_000


@scenario(
    fault="the output queue is deleted under load",
    promise="it is created again; no connection lost, no duplicates",
)
async def output_queue_deleted(env: Environment) -> Allowed:
    output = env.queues.output
    await env.client.delete(output)
    await env.client.declare(output, **{"x-max-length": 1_000_000})
    await env.broker.start()
    async with env.load(_RATE), env.collecting(output):
        for _ in range(20 if env.is_long else 4):
            await env.routing()
            await _delete_empty(env, output)
            await env.routing(within=RECOVERY, since=trio.current_time())
    env.broker.must_not_have_logged("amqp_lost")
    return Allowed(duplicates=0)


@scenario(
    fault="the dead-letter queue is deleted while poison messages arrive",
    promise="it is created again; no connection lost, no duplicates",
)
async def dead_letter_queue_deleted(env: Environment) -> Allowed:
    dead_letter = env.queues.dead_letter
    await env.broker.start()
    async with env.load(_RATE) as load, env.collecting(dead_letter):

        async def poison() -> None:
            number = 0
            while True:
                body = b"poison %d" % number
                env.sent.labels[body] = Label(body.decode(), "invalid_json", env.queues.input)
                load.add_poison(body)
                number += 1
                await trio.sleep(_POISON_INTERVAL)

        async with trio.open_nursery() as poisoning:
            poisoning.start_soon(poison)
            for _ in range(20 if env.is_long else 4):
                await _more_collected(env, dead_letter)
                await _delete_empty(env, dead_letter)
                await _more_collected(env, dead_letter)
            poisoning.cancel_scope.cancel()
    env.broker.must_not_have_logged("amqp_lost")
    return Allowed(duplicates=0)


@scenario(
    fault="the input queue is deleted when it is empty, the server's queues under load",
    promise=f"consumed again within {RECOVERY:g} s; a prefetch of duplicates each",
)
async def consumed_queues_deleted(env: Environment) -> Allowed:
    """Delete each queue that is consumed: the input when it is empty, the others under load.

    RabbitMQ cancels the consumer then. What was in the input queue would be gone with it.
    """
    rounds = 3 if env.is_long else 1
    await env.broker.start()
    for _ in range(rounds):
        async with env.load(_RATE):
            await env.routing()
            for queue in (env.queues.metadata, env.queues.advertisement):
                await _delete_consumed(env, queue)
                await env.routing()
        await env.drained()
        await _delete_consumed(env, env.queues.input)
    async with env.load(_RATE):
        await env.routing()
    return Allowed(duplicates=2 * rounds * env.prefetch)


@scenario(
    fault="RabbitMQ closes all connections, again and again",
    promise=f"routing again within {RECOVERY:g} s; a prefetch of duplicates each",
)
async def connections_closed(env: Environment) -> Allowed:
    rounds = 8 if env.is_long else 3
    await env.broker.start()
    async with env.load(_RATE):
        for _ in range(rounds):
            await env.routing()
            await trio.sleep(env.random.uniform(*_LIFE))
            await env.node.ctl("close_all_connections", "chaos")
            env.fault()
            await env.routing(within=_recovery(env), since=trio.current_time())
    return Allowed(duplicates=rounds * env.prefetch)


@scenario(
    fault="the broker's write permission, then its read permission, is revoked for a while",
    promise=f"routing {RECOVERY:g} s after it is back; a prefetch of duplicates each time",
)
async def rights_taken(env: Environment) -> Allowed:
    user = f"{env.queues.input}-broker"
    await env.node.ctl("add_user", user, _PASSWORD)
    await _grant(env, user, write=_ALL, read=_ALL)
    url = URL(env.node.url).with_port(env.amqp.port)
    await env.broker.start(AMQP_URL=str(url.with_user(user).with_password(_PASSWORD)))
    async with env.load(_RATE):
        for write, read in ((_NOTHING, _ALL), (_ALL, _NOTHING)):
            await env.routing()
            await _grant(env, user, write=write, read=read)
            # RabbitMQ remembers for each channel what it has checked.
            env.amqp.cut()
            env.fault()
            await _lost_again(env, 2)
            routed = await env.routed()
            await trio.sleep(20 if env.is_long else 1)
            assert await env.routed() == routed, "messages were routed without the right to do so"
            await _grant(env, user, write=_ALL, read=_ALL)
            await env.routing(within=_recovery(env), since=trio.current_time())
    lost = _times_lost(env)
    return Allowed(duplicates=lost * env.prefetch)


@scenario(
    fault="the output queue refuses messages (reject-publish) until it is emptied",
    promise="refused messages are held and retried; no duplicates, no connection lost",
)
async def output_full(env: Environment) -> Allowed:
    output = env.queues.output
    await _limit(env, _MOST_OUTPUT)
    try:
        await env.broker.start()
        async with env.load(100):
            for _ in range(2 if env.is_long else 1):
                await env.fill(1_500)
                await _full(env)
                env.fault()
                await trio.sleep(45 if env.is_long else 2)
                await _check_nothing_vanished(env)
                async with env.collecting(output):
                    await env.routing(within=_LONG_RECOVERY, since=trio.current_time())
                    await eventually(
                        lambda: env.client.ready(env.queues.input),
                        "the input queue is nearly empty",
                        until=lambda ready: ready < env.prefetch,
                        within=_TIMEOUT,
                    )
        async with env.collecting(output):
            await env.drained()
    finally:
        await env.node.ctl("clear_policy", output)
    env.broker.must_not_have_logged("amqp_lost")
    return Allowed(duplicates=0)


@scenario(
    fault="RabbitMQ's consumer timeout strikes while the output queue refuses messages",
    promise="the queue is consumed again; a prefetch of duplicates each time",
)
async def acknowledgement_timeout(env: Environment) -> Allowed:
    async with (
        limited(env.node, "channel_tick_interval", 1_000),
        limited(env.node, "consumer_timeout", _ACKNOWLEDGEMENT_TIMEOUT_MS),
    ):
        await _limit(env, _MOST_OUTPUT)
        await env.broker.start()
        await env.fill(3_000)
        await _full(env)
        for _ in range(6 if env.is_long else 1):
            await _lost_again(env, 1)
            env.fault()
    await env.node.ctl("clear_policy", env.queues.output)
    await env.routing(within=_LONG_RECOVERY, since=trio.current_time())
    await env.drained()
    lost = _times_lost(env)
    return Allowed(duplicates=lost * env.prefetch)


async def _delete_empty(env: Environment, queue: str) -> None:
    """Delete a queue that is being collected from, with nothing in it and nothing on its way.

    RabbitMQ confirms what reaches a queue while that is being deleted, and it is gone. That would
    be the operator's doing.
    """
    env.amqp.stall(Toward.SERVER)
    await trio.sleep(_QUIET)
    await eventually(
        lambda: env.client.delete_if_empty(queue), f"{queue} is empty", within=_TIMEOUT
    )
    env.amqp.heal()
    env.fault()


async def _delete_consumed(env: Environment, queue: str) -> None:
    await env.client.delete(queue)
    env.fault()
    deleted = trio.current_time()

    async def is_consumed() -> bool:
        with suppress(ConnectionError):  # it is not there yet
            return (await env.client.look(queue)).consumers > 0
        return False

    await eventually(is_consumed, f"{queue} is consumed again", within=_recovery(env))
    env.figures.recoveries.append(trio.current_time() - deleted)


async def _more_collected(env: Environment, queue: str) -> None:
    before = env.collected(queue)
    await eventually(
        lambda: env.collected(queue) > before, f"messages come to {queue}", within=RECOVERY
    )


async def _lost_again(env: Environment, times: int) -> None:
    before = _times_lost(env)
    await eventually(
        lambda: _times_lost(env) >= before + times,
        "the broker loses its session or a consumer",
        within=_TIMEOUT,
    )


def _times_lost(env: Environment) -> int:
    """Return how often a session or a consumer was lost; either returns a prefetch."""
    return sum(env.broker.times_logged(event) for event in ("amqp_lost", "consumer_lost"))


async def _full(env: Environment) -> None:
    await eventually(
        lambda: env.client.ready(env.queues.output),
        "the output queue is full",
        until=lambda ready: ready >= _MOST_OUTPUT,
        within=_TIMEOUT,
    )


async def _check_nothing_vanished(env: Environment) -> None:
    """Check that nothing is acknowledged that the output queue refused."""
    confirmed = len(env.sent.confirmed)
    routed = await env.routed()
    held = await env.unacknowledged(env.queues.input)
    waiting = await env.client.ready(env.queues.input)
    assert 0 < held <= env.prefetch, f"the broker held {held} messages"
    assert waiting + held + routed >= confirmed, (
        f"{confirmed} messages were sent, and there are {routed} in the output queue, {held} "
        f"with the broker and {waiting} in the input queue"
    )


def _recovery(env: Environment) -> float:
    return _LONG_RECOVERY if env.is_long else RECOVERY


async def _limit(env: Environment, most: int) -> None:
    output = env.queues.output
    definition = f'{{"max-length": {most}, "overflow": "reject-publish"}}'
    await env.node.ctl("set_policy", output, f"^{output}$", definition, "--apply-to", "queues")


async def _grant(env: Environment, user: str, *, write: str, read: str) -> None:
    await env.node.ctl("set_permissions", user, _ALL, write, read)
