"""RabbitMQ drops what a quorum queue has returned too often."""

import trio

from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import scenario

_MOST_OUTPUT = 50
_HELD = 300
"""Messages that the output queue does not take: more than the broker holds at once."""


@scenario(
    fault="kill -9 of the broker 25 times, with a quorum input queue and a full output queue",
    promise="held messages are routed once there is room, however often they were returned",
)
async def twenty_five_crashes(env: Environment) -> Allowed:
    """Kill the broker 25 times while it holds what the output queue does not take.

    Each time RabbitMQ has everything back. From version 4.0 on a quorum queue drops by default what
    it has had back more than 20 times, without a word to anybody.
    """
    crashes = 60 if env.is_long else 25
    await env.client.delete(env.queues.input, env.queues.output)
    await env.client.declare(env.queues.input, **{"x-queue-type": "quorum"})
    full: dict[str, str | int] = {"x-max-length": _MOST_OUTPUT, "x-overflow": "reject-publish"}
    await env.client.declare(env.queues.output, **full)
    await env.fill(_MOST_OUTPUT + _HELD)
    for _ in range(crashes):
        await env.broker.start()
        await env.broker.logged("publishing_refused")
        await env.broker.kill()
        env.fault()
    await env.broker.start()
    async with env.collecting(env.queues.output):
        await env.routing(since=trio.current_time())
        await env.drained()
    return Allowed(duplicates=crashes * env.prefetch)
