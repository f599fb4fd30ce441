"""RabbitMQ dies and comes back."""

import trio

from tests.faults.arena import Arena
from tests.faults.checker import Allowed
from tests.faults.scenario import Scenario

_LIFE = (2.0, 4.0)
_RECOVERY = 15.0


async def rabbitmq_kill(arena: Arena) -> Allowed:
    """Kill RabbitMQ under load, and start it again with what it has on disk."""
    kills = 5 if arena.is_long else 1
    await arena.broker.start()
    async with arena.load(1_000):
        await arena.routing()
        for _ in range(kills):
            await trio.sleep(arena.random.uniform(*_LIFE))
            await arena.node.kill()
            arena.fault()
            await arena.node.start()
            await arena.routing(within=_RECOVERY, since=trio.current_time())
    return Allowed(duplicates=kills * arena.prefetch)


SCENARIOS = (
    Scenario(
        rabbitmq_kill,
        fault="kill -9 of RabbitMQ under load",
        promise=f"routing {_RECOVERY:g} s after RabbitMQ is back; a prefetch of duplicates a kill",
        has_own_node=True,
    ),
)
