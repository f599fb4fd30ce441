"""A status update with a million agents, while messages flow."""

import trio

from broker.core.messages import AgentStatus
from tests.faults import chat
from tests.faults.checker import Allowed, Online
from tests.faults.environment import Environment
from tests.faults.scenario import ROOM, scenario
from tests.faults.steady import steady
from tests.lab.eventually import eventually

_RATE = 200.0
_GAP = 3.0 * ROOM
"""Seconds without a routed message that are too many."""
_PONG = 20.0
"""Seconds from the update until the PING behind it is answered."""
_APPLIED = 60.0
"""Seconds until an update of a million has been decoded and applied, beside all other work."""
_CALM = 1.5
_UPDATES = 3
_BYTES_PER_AGENT = 700
"""What a known agent may cost."""
_MORE_BYTES = 64 * 2**20
"""What may be left of the work; allocators keep some."""


@scenario(
    fault="status updates with a million agents, and one with too many",
    promise="messages flow, PINGs are answered, memory is released; the old registry stays",
)
async def huge_update(env: Environment) -> Allowed:
    size = 1_000_000 if env.is_long else 200_000
    most = size + 1_000
    agents = [AgentStatus(name, name, is_online=True) for name in chat.AGENTS]
    crowd = [AgentStatus(f"crowd-{number}", is_online=True) for number in range(size)]
    surplus = [AgentStatus(f"surplus-{number}", is_online=True) for number in range(most + 1)]
    async with env.broker_under_load(_RATE, BROKER_MAX_AGENTS=str(most)):
        before = env.usage().resident_bytes
        async with steady(env, gap=_GAP):
            for missing in range(_UPDATES):  # an update like the one before is not logged
                await trio.sleep(_CALM)  # until nothing else is under way
                await _update(env, [*agents, *crowd[missing:]], "registry_updated")
            await trio.sleep(_CALM)
            after = env.usage().resident_bytes
            await _update(env, surplus, "status_update_refused")
            await trio.sleep(_CALM)
            await _update(env, agents, "registry_updated")
    allowance = before + size * _BYTES_PER_AGENT + _MORE_BYTES
    assert after <= allowance, (
        f"with {size} agents the broker has {after >> 20} MiB, more than {allowance >> 20}"
    )
    online = frozenset(chat.AGENTS)
    crowded = online.union(agent.agent_id for agent in crowd)
    return Allowed(duplicates=0, online=[Online(0, possibly=crowded, certainly=online)])


async def _update(env: Environment, agents: list[AgentStatus], outcome: str) -> None:
    pongs, outcomes = env.pongs(), env.broker.times_logged(outcome)
    env.server.send(
        {"message_type": "AGENT_STATUS_UPDATE", "agents": agents, "is_full_update": True}
    )
    env.server.send({"message_type": "PING"})
    env.fault()
    await eventually(lambda: env.pongs() > pongs, "answer to a PING behind an update", within=_PONG)
    await env.broker.logged(outcome, times=outcomes + 1, within=_APPLIED)
