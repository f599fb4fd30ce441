"""Agents come and go by the thousand: nothing is routed to its sender, or to who is offline.

Who is online when a message is decided can be seen from outside in two cases only: an agent is in
no update as online, or nothing changes. So some agents never come; some never leave; and between
the storms, with nothing under way, everybody's state is known, and the answers must be exact.
"""

from operator import not_

import trio

from broker.core.messages import AgentStatus
from tests.faults import chat
from tests.faults.checker import Allowed, Online
from tests.faults.environment import Environment
from tests.faults.scenario import scenario
from tests.lab.eventually import eventually
from tests.lab.raw_content import Content

_RATE = 300.0
_ALWAYS = frozenset(chat.AGENTS[:5])
_FLAPPING = frozenset(chat.AGENTS[5:15])
_NEVER = frozenset(chat.AGENTS[15:])
_BY_QUEUE = tuple(f"queue-{number:02}" for number in range(10))
_BURST = 100
"""Deltas, or pairs of messages in the metadata queue, at once; each moves ten agents."""
_PAUSE = 0.1
_CALM_LOAD = 0.5
_MARKERS = 2 * len(chat.AGENTS)
_SETTLING = 120.0


@scenario(
    fault="agents come and go thousands of times a second, by WebSocket and by queue",
    promise="no message to its sender, or to an agent that is offline; each agent registered once",
)
async def agents_flap(env: Environment) -> Allowed:
    seconds = 60.0 if env.is_long else 4.0
    online = [Online(0, possibly=frozenset(chat.AGENTS), certainly=_ALWAYS)]
    await env.broker.start()
    _change(env, _NEVER, is_online=False)
    await env.linked()
    await _settled(env)
    everybody = _ALWAYS | _FLAPPING | frozenset(_BY_QUEUE)
    online.append(Online(env.sent.attempted, possibly=everybody, certainly=_ALWAYS))
    async with env.load(_RATE), trio.open_nursery() as nursery:
        nursery.start_soon(_flap_by_queue, env, seconds)
        await _flap_by_websocket(env, seconds)
    await _metadata_empty(env)
    _change(env, _FLAPPING, is_online=False)
    await _ask(env, online, _ALWAYS)
    return Allowed(duplicates=0, online=online)


@scenario(
    fault="all agents leave, one is left, all come back; empty full updates in between",
    promise="the exact reason when nobody can receive; no message to an offline agent",
)
async def agents_leave_and_return(env: Environment) -> Allowed:
    rounds = 10 if env.is_long else 1
    everybody, nobody = frozenset(chat.AGENTS), frozenset[str]()
    online = [Online(0, possibly=everybody, certainly=everybody)]
    await env.broker.start()
    await env.linked()
    for _ in range(rounds):
        only = frozenset({env.random.choice(chat.AGENTS)})
        for those in (nobody, only, everybody):
            _only(env, those)
            await _ask(env, online, those)
        online.append(Online(env.sent.attempted, possibly=everybody, certainly=nobody))
        async with env.load(_RATE):
            for _ in range(_BURST):
                env.server.send({**env.server.full_update(), "agents": []})
                await trio.sleep(env.random.uniform(0, 0.02))
                env.server.send(env.server.full_update())
                await trio.sleep(env.random.uniform(0, 0.02))
                env.fault()
        await _decided(env)
    return Allowed(duplicates=0, online=online)


async def _ask(env: Environment, online: list[Online], those: frozenset[str]) -> None:
    """Send messages while exactly these agents are online, and nothing changes."""
    await _settled(env)
    online.append(Online(env.sent.attempted, possibly=those, certainly=those))
    async with env.load(_RATE):
        await trio.sleep(_CALM_LOAD)
    await _decided(env)
    env.fault()


async def _settled(env: Environment) -> None:
    """Tell the broker the whole truth, and wait until it has applied it."""
    # More agents each time, that are nowhere else and offline, tell the updates apart.
    for _ in range(_MARKERS):
        marker = f"marker-{env.random.getrandbits(64)}"
        env.server.agents[marker] = AgentStatus(marker)
    env.server.send(env.server.full_update())
    applied = b'"full": true, "named": %d,' % len(env.server.agents)
    await eventually(
        lambda: applied in env.broker.log.read_bytes(), "the update is applied", within=_SETTLING
    )


async def _decided(env: Environment) -> None:
    """Wait until all messages have come out, as answers perhaps."""
    await eventually(
        env.routed,
        f"{env.sent.attempted} messages came out",
        until=lambda routed: routed >= env.sent.attempted,
        within=_SETTLING,
    )


def _only(env: Environment, names: frozenset[str]) -> None:
    """Let only these be in the truth: who is in no full update is offline."""
    for name in chat.AGENTS:
        env.server.agents.pop(name, None)
    env.server.agents.update((name, AgentStatus(name, name, is_online=True)) for name in names)


def _change(env: Environment, names: frozenset[str], *, is_online: bool) -> None:
    env.server.update(*(AgentStatus(name, name, is_online) for name in names))


async def _flap_by_websocket(env: Environment, seconds: float) -> None:
    flapping = sorted(_FLAPPING)
    with trio.move_on_after(seconds):
        while True:
            for _ in range(_BURST):
                some = frozenset(env.random.sample(flapping, 5))
                _change(env, some, is_online=True)
                _change(env, _FLAPPING - some, is_online=False)
            env.fault()
            await trio.sleep(_PAUSE)


async def _flap_by_queue(env: Environment, seconds: float) -> None:
    ends_at = trio.current_time() + seconds
    while trio.current_time() < ends_at:
        contents = []
        for _ in range(_BURST):
            for name in _BY_QUEUE:
                quoted = name.encode()
                contents += [
                    Content(b'{"message_type": "REGISTER_AGENT", "agent_id": "%b"}' % quoted),
                    Content(b'{"message_type": "CLIENT_DISCONNECTED", "agent_id": "%b"}' % quoted),
                ]
        await env.client.publish_content(env.queues.metadata, *contents)
        for name in _BY_QUEUE:
            env.sent.registrations[name] = env.sent.registrations.get(name, 0) + _BURST
        env.fault()
        await trio.sleep(_PAUSE)


async def _metadata_empty(env: Environment) -> None:
    """Wait until all of it is acknowledged, and so decided."""
    await eventually(
        lambda: env.unsettled(env.queues.metadata),
        "empty metadata queue",
        until=not_,
        within=_SETTLING,
    )
