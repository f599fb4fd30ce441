"""The broker dies while it holds messages that nobody can receive."""

import trio

from broker.core.messages import AgentStatus
from tests.faults import chat
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import scenario
from tests.lab.eventually import eventually

_HOLD = "600"
_RATE = 500.0
_LONGEST_ABSENCE = 1.5
_LONGEST_PRESENCE = 0.3
_EMPTY = 60.0
"""Seconds; what a broker that was killed gives back too late is looked at within ten."""
_LIFE = (0.5, 3.0)
"""Seconds that a broker routes before it is killed."""


@scenario(
    fault="kill -9 of the broker while all agents come and go, and messages are held",
    promise="no sender gets an ERROR; at most two prefetches of duplicates for each kill",
)
async def hold_under_kills(env: Environment) -> Allowed:
    kills = 20 if env.is_long else 4
    await env.broker.start(BROKER_HOLD=_HOLD)
    async with env.load(_RATE) as load, trio.open_nursery() as nursery:
        nursery.start_soon(_come_and_go, env)
        for _ in range(kills):
            await env.linked()
            await trio.sleep(env.random.uniform(*_LIFE))
            await env.broker.kill()
            env.fault()
            await env.broker.start(BROKER_HOLD=_HOLD)
        await load.confirmed(int(kills * _RATE))
        nursery.cancel_scope.cancel()
    _appear(env, is_online=True)
    await eventually(
        lambda: env.unsettled(env.queues.hold),
        "nothing is held",
        until=lambda held: held == 0,
        within=_EMPTY,
    )
    # Of what it has not acknowledged, new messages and held ones come again.
    return Allowed(duplicates=kills * 2 * env.prefetch)


async def _come_and_go(env: Environment) -> None:
    while True:
        _appear(env, is_online=False)
        await trio.sleep(env.random.uniform(0, _LONGEST_ABSENCE))
        _appear(env, is_online=True)
        await trio.sleep(env.random.uniform(0, _LONGEST_PRESENCE))


def _appear(env: Environment, *, is_online: bool) -> None:
    env.server.update(*(AgentStatus(name, name, is_online) for name in chat.AGENTS))
