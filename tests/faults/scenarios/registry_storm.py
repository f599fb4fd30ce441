"""Agents come and go by the thousand: nothing is routed to its sender, or to who is offline.

Who is online when a message is decided can be seen from outside in two cases only: an agent is in
no update as online, or nothing changes. So some agents never come; some never leave; and between
the storms, with nothing under way, everybody's state is known, and the answers must be exact.
"""

import trio

from broker.core.messages import AgentStatus
from tests.faults import chat
from tests.faults.arena import Arena
from tests.faults.checker import Allowed, Online
from tests.faults.failure import ScenarioFailedError
from tests.faults.raw_content import Content
from tests.faults.scenario import Scenario

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
_SETTLING = 20.0
_POLL_INTERVAL = 0.05


async def agents_flap(arena: Arena) -> Allowed:
    """Let agents come and go by WebSocket and by queue at once, and ask who is there at the end."""
    seconds = 60.0 if arena.is_long else 4.0
    online = [Online(0, possibly=frozenset(chat.AGENTS), certainly=_ALWAYS)]
    await arena.broker.start()
    _change(arena, _NEVER, is_online=False)
    await arena.linked()
    await _settled(arena)
    everybody = _ALWAYS | _FLAPPING | frozenset(_BY_QUEUE)
    online.append(Online(arena.sent.attempted, possibly=everybody, certainly=_ALWAYS))
    async with arena.load(_RATE), trio.open_nursery() as nursery:
        nursery.start_soon(_flap_by_queue, arena, seconds)
        await _flap_by_websocket(arena, seconds)
    await _metadata_empty(arena)
    _change(arena, _FLAPPING, is_online=False)
    await _ask(arena, online, _ALWAYS)
    return Allowed(duplicates=0, online=online)


async def agents_leave_and_return(arena: Arena) -> Allowed:
    """Let all agents leave, all but one, all come back; and full updates be empty now and then."""
    rounds = 10 if arena.is_long else 1
    everybody, nobody = frozenset(chat.AGENTS), frozenset[str]()
    online = [Online(0, possibly=everybody, certainly=everybody)]
    await arena.broker.start()
    await arena.linked()
    for _ in range(rounds):
        only = frozenset({arena.random.choice(chat.AGENTS)})
        for those in (nobody, only, everybody):
            _only(arena, those)
            await _ask(arena, online, those)
        online.append(Online(arena.sent.attempted, possibly=everybody, certainly=nobody))
        async with arena.load(_RATE):
            for _ in range(_BURST):
                arena.server.send({**arena.server.full_update(), "agents": []})
                await trio.sleep(arena.random.uniform(0, 0.02))
                arena.server.send(arena.server.full_update())
                await trio.sleep(arena.random.uniform(0, 0.02))
                arena.fault()
        await _decided(arena)
    return Allowed(duplicates=0, online=online)


async def _ask(arena: Arena, online: list[Online], those: frozenset[str]) -> None:
    """Send messages while exactly these agents are online, and nothing changes."""
    await _settled(arena)
    online.append(Online(arena.sent.attempted, possibly=those, certainly=those))
    async with arena.load(_RATE):
        await trio.sleep(_CALM_LOAD)
    await _decided(arena)
    arena.fault()


async def _settled(arena: Arena) -> None:
    """Tell the broker the whole truth, and wait until it has applied it."""
    # More agents each time, that are nowhere else and offline, tell the updates apart.
    for _ in range(_MARKERS):
        marker = f"marker-{arena.random.getrandbits(64)}"
        arena.server.agents[marker] = AgentStatus(marker)
    arena.server.send(arena.server.full_update())
    applied = b'"full": true, "named": %d,' % len(arena.server.agents)
    with trio.move_on_after(_SETTLING):
        while applied not in arena.broker.log.read_bytes():
            await trio.sleep(_POLL_INTERVAL)
        return
    raise ScenarioFailedError(f"an update was not applied within {_SETTLING:g} s")


async def _decided(arena: Arena) -> None:
    """Wait until all messages have come out, as answers perhaps."""
    with trio.move_on_after(_SETTLING):
        while await arena.routed() < arena.sent.attempted:
            await trio.sleep(_POLL_INTERVAL)
        return
    raise ScenarioFailedError(f"not all messages came out within {_SETTLING:g} s")


def _only(arena: Arena, names: frozenset[str]) -> None:
    """Let only these be in the truth: who is in no full update is offline."""
    for name in chat.AGENTS:
        arena.server.agents.pop(name, None)
    arena.server.agents.update((name, AgentStatus(name, name, is_online=True)) for name in names)


def _change(arena: Arena, names: frozenset[str], *, is_online: bool) -> None:
    arena.server.update(*(AgentStatus(name, name, is_online) for name in names))


async def _flap_by_websocket(arena: Arena, seconds: float) -> None:
    flapping = sorted(_FLAPPING)
    with trio.move_on_after(seconds):
        while True:
            for _ in range(_BURST):
                some = frozenset(arena.random.sample(flapping, 5))
                _change(arena, some, is_online=True)
                _change(arena, _FLAPPING - some, is_online=False)
            arena.fault()
            await trio.sleep(_PAUSE)


async def _flap_by_queue(arena: Arena, seconds: float) -> None:
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
        await arena.client.publish(arena.queues.metadata, contents)
        for name in _BY_QUEUE:
            arena.sent.registrations[name] = arena.sent.registrations.get(name, 0) + _BURST
        arena.fault()
        await trio.sleep(_PAUSE)


async def _metadata_empty(arena: Arena) -> None:
    with trio.move_on_after(_SETTLING):
        while (await arena.client.look(arena.queues.metadata)).ready:
            await trio.sleep(_POLL_INTERVAL)
        # What was delivered last is decided within this time; the end of the queue shows no more.
        await trio.sleep(1)
        return
    raise ScenarioFailedError(f"the metadata queue was not empty within {_SETTLING:g} s")


SCENARIOS = (
    Scenario(
        agents_flap,
        fault="agents come and go thousands of times a second, by WebSocket and by queue",
        promise="no message to its sender, or to an agent that is offline; each registration once",
    ),
    Scenario(
        agents_leave_and_return,
        fault="all agents leave, one is left, all come back; empty full updates in between",
        promise="the exact reason when nobody can receive; no message to who is offline",
    ),
)
