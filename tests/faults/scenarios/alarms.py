"""RabbitMQ runs short of memory or disk, and stops reading from those who publish."""

import trio

from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import RECOVERY, scenario
from tests.lab.limits import DISK, MEMORY, Alarm, alarmed

_BACKLOG = 6_000
"""Messages that are there before: with the alarm, nobody can publish more."""
_DELAY = 0.1
"""Seconds that everything takes between the broker and RabbitMQ: the backlog must outlast the
command that raises the alarm."""
_SETTLING = 2.0
"""Seconds within which RabbitMQ has stopped reading, and what it had read is routed."""
_SLACK = 4 << 20
"""Bytes that the broker may grow by during an alarm; nothing is routed meanwhile."""
_SAMPLE_INTERVAL = 0.5


@scenario(
    fault="memory alarm under load, with a backlog",
    promise=f"memory flat, no connection lost, routing again within {RECOVERY:g} s",
)
async def memory_alarm(env: Environment) -> Allowed:
    async with env.broker_under_load(200):
        for _ in range(2 if env.is_long else 1):
            await _block(env, MEMORY, seconds=60 if env.is_long else 4)
    env.broker.must_not_have_logged("amqp_lost")
    return Allowed(duplicates=0)


@scenario(
    fault="disk alarm under load; in the long form it lasts ten heartbeats",
    promise=f"memory flat, no connection lost, routing again within {RECOVERY:g} s",
)
async def disk_alarm(env: Environment) -> Allowed:
    async with env.broker_under_load(200):
        await _block(env, DISK, seconds=100 if env.is_long else 4)
    env.broker.must_not_have_logged("amqp_lost")
    return Allowed(duplicates=0)


async def _block(env: Environment, alarm: Alarm, *, seconds: float) -> None:
    env.amqp.delay(_DELAY)
    await env.fill(_BACKLOG)
    async with alarmed(env.node, alarm):
        env.amqp.heal()
        env.fault()
        await trio.sleep(_SETTLING)
        ends_at = trio.current_time() + seconds
        before, routed = env.usage().resident_bytes, await env.routed()
        await _check_held(env)
        most_bytes = before
        with trio.move_on_at(ends_at):
            while True:
                most_bytes = max(most_bytes, env.usage().resident_bytes)
                await trio.sleep(_SAMPLE_INTERVAL)
        if env.is_long:
            await _check_held(env)
        assert await env.routed() == routed, "messages were routed during the alarm: there was none"
        assert await env.client.ready(env.queues.input), "the backlog did not outlast the alarm"
        assert most_bytes <= before + _SLACK, f"the broker grew by {most_bytes - before:,} bytes"
    await env.routing(within=RECOVERY, since=trio.current_time())


async def _check_held(env: Environment) -> None:
    held = await env.unacknowledged(env.queues.input)
    assert 0 < held <= env.prefetch, f"the broker held {held} messages during the alarm"
