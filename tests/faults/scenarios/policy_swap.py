"""The routing policy is changed, as operators change it: by a stop and a start."""

import trio

from broker.settings.values import ROUTING_POLICIES
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import RECOVERY, scenario

_RATE = 500.0
_LIFE = (0.0, 1.0)
"""Seconds that a broker routes before it is stopped."""


@scenario(
    fault="SIGTERM under load, and a start with another routing policy, again and again",
    promise="exit code 0 each time, and no duplicates",
)
async def policy_swap(env: Environment) -> Allowed:
    rounds = 10 if env.is_long else 1
    async with env.load(_RATE):
        # The first one comes once more, after the last.
        for policy in (*ROUTING_POLICIES * rounds, ROUTING_POLICIES[0]):
            started = trio.current_time()
            await env.broker.start(BROKER_ROUTING_POLICY=policy)
            await env.routing(within=RECOVERY, since=started)
            await trio.sleep(env.random.uniform(*_LIFE))
            await env.broker.stop()
            env.fault()
    return Allowed(duplicates=0)
