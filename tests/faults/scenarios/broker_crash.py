"""The broker dies: at any moment, and at the worst moments."""

import trio

from tests.faults.broker_control import KILLED
from tests.faults.checker import Allowed
from tests.faults.crash_at import POINTS, command
from tests.faults.environment import Environment
from tests.faults.scenario import scenario

_YOUTH = 1.0
"""Seconds within which a broker that is killed while it starts is killed."""
_LIFE = 2.0
"""Seconds within which one that routes is killed; starting took it another."""
_CRASH_TIMEOUT = 30.0
_ACKNOWLEDGEMENTS = 20
"""Each is for many messages."""


@scenario(
    fault="kill -9 of the broker every 1 to 3 s under load",
    promise="at most a prefetch of duplicates for each kill",
)
async def broker_kill(env: Environment) -> Allowed:
    kills, messages, rate = (30, 50_000, 1_500) if env.is_long else (5, 5_000, 700)
    async with env.load(rate) as load:
        for kill in range(kills):
            if kill % 5:
                await _start(env)
                await trio.sleep(env.random.uniform(0, _LIFE))
            else:
                await env.broker.start()
                await trio.sleep(env.random.uniform(0, _YOUTH))
            await env.broker.kill()
            env.fault()
        await _start(env)
        await load.confirmed(messages)
    return Allowed(duplicates=kills * env.prefetch)


@scenario(
    fault="kill -9 of the broker at each step of a message, from received to acknowledged",
    promise="at most a prefetch of duplicates for each crash",
)
async def crash_points(env: Environment) -> Allowed:
    rounds = 10 if env.is_long else 1
    points = [point for point in POINTS for _ in range(rounds)]
    env.random.shuffle(points)
    async with env.load(500):
        for point in points:
            most = _ACKNOWLEDGEMENTS if point == "acknowledged" else 2 * env.prefetch
            number = env.random.randint(1, most)
            await env.broker.start(command(point, number))
            code = await env.broker.ended(within=_CRASH_TIMEOUT)
            assert code == KILLED, f"at {point!r} it ended with exit code {code}"
            env.fault()
        await _start(env)
    return Allowed(duplicates=len(points) * env.prefetch)


async def _start(env: Environment) -> None:
    started = trio.current_time()
    await env.broker.start()
    await env.routing(since=started)
