"""RabbitMQ dies and comes back."""

import trio

from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import RECOVERY, scenario

_LIFE = (2.0, 4.0)


@scenario(
    fault="kill -9 of RabbitMQ under load",
    promise=f"routing {RECOVERY:g} s after RabbitMQ is back; a prefetch of duplicates a kill",
)
async def rabbitmq_kill(env: Environment) -> Allowed:
    kills = 5 if env.is_long else 1
    async with env.broker_under_load(1_000):
        for _ in range(kills):
            await trio.sleep(env.random.uniform(*_LIFE))
            await env.node.kill()
            env.fault()
            await env.node.start()
            await env.routing(within=RECOVERY, since=trio.current_time())
    return Allowed(duplicates=kills * env.prefetch)
