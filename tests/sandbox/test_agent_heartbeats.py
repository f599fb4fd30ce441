"""Who is there, with a session that delivers and takes what the test wants."""

import json
from collections.abc import Callable, Sequence
from typing import cast

import pytest
import trio
import trio.testing

from broker.amqp import Deliveries, Delivery, Publishing, Session, Settlement
from broker.sandbox.act import INTERVAL
from broker.sandbox.agent_heartbeats import AGENTS_QUEUE, SILENCE, AgentHeartbeats
from broker.sandbox.central_server import CentralServer
from broker.sandbox.server_queues import METADATA_QUEUE, UNKNOWN_QUEUE
from tests.lab.autojump import autojump


class FakeSession:
    """Delivers what it is given, and remembers what is published or settled."""

    def __init__(self) -> None:
        self.published: list[Publishing] = []
        self.settled: list[Settlement] = []
        self.arriving, self._arriving = trio.open_memory_channel[bytes](100)

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        await trio.lowlevel.checkpoint()
        self.published += publishings

    async def consume(
        self, queue: str, take: Callable[[Deliveries], None], *, task_status: trio.TaskStatus[None]
    ) -> None:
        assert queue == AGENTS_QUEUE
        task_status.started()
        async for body in self._arriving:
            delivery = Delivery(queue, 1, body)
            take(Deliveries(queue, [delivery], self.settled.extend))


class World:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.server = CentralServer(1)
        self.heartbeats = AgentHeartbeats(self.server)
        self.session = FakeSession()
        self._nursery = nursery
        self._scope = trio.CancelScope()

    async def start(self) -> None:
        """Use a session until it is lost."""
        await self._nursery.start(self._use_session)

    async def _use_session(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as self._scope:
            await self.heartbeats.run(cast("Session", self.session), task_status=task_status)

    def lose_session(self) -> None:
        self._scope.cancel()

    async def say(self, **message: object) -> None:
        self.session.arriving.send_nowait(json.dumps(message).encode())
        await trio.testing.wait_all_tasks_blocked()

    async def be_there(self, agent_id: str = "alice") -> None:
        await self.say(message_type="REGISTER_AGENT", agent_id=agent_id, agent_name="Alice")

    @property
    def online(self) -> dict[str, bool]:
        return {agent_id: agent.is_online for agent_id, agent in self.server.agents.items()}

    @property
    def passed_on(self) -> list[str]:
        publishings = [one.publishing for one in self.session.settled if one.publishing]
        assert all(one.queue == METADATA_QUEUE for one in publishings)
        return [json.loads(one.body)["message_type"] for one in publishings]


@pytest.fixture
async def world(nursery: trio.Nursery) -> World:
    world = World(nursery)
    await world.start()
    return world


@autojump
async def test_an_agent_comes_once_however_often_it_says_so(world: World) -> None:
    await world.be_there()
    await world.be_there()
    assert world.online == {"alice": True}
    assert world.server.agents["alice"].agent_name == "Alice"
    assert world.passed_on == ["REGISTER_AGENT"]
    assert len(world.session.settled) == 2


@autojump
async def test_an_agent_leaves_and_comes_back(world: World) -> None:
    await world.be_there()
    await world.say(message_type="CLIENT_DISCONNECTED", agent_id="alice")
    assert world.online == {"alice": False}
    await world.be_there()
    assert world.online == {"alice": True}
    assert world.passed_on == ["REGISTER_AGENT", "CLIENT_DISCONNECTED", "REGISTER_AGENT"]


@autojump
async def test_who_falls_silent_is_gone(world: World) -> None:
    await world.be_there("alice")
    await world.be_there("bob")
    await trio.sleep(SILENCE - 1)
    await world.be_there("bob")
    await trio.sleep(4)
    assert world.online == {"alice": False, "bob": True}
    [publishing] = world.session.published
    assert publishing.queue == METADATA_QUEUE
    assert json.loads(publishing.body)["agent_id"] == "alice"


@autojump
async def test_silence_does_not_count_without_a_session(world: World) -> None:
    await world.be_there()
    world.lose_session()
    await trio.sleep(10 * SILENCE)
    await world.start()
    await trio.sleep(SILENCE - 1)
    assert world.online == {"alice": True}


@autojump
async def test_what_it_does_not_understand_is_kept(world: World) -> None:
    await world.say(message_type="TEXT")
    [settlement] = world.session.settled
    assert settlement.publishing is not None
    assert settlement.publishing.queue == UNKNOWN_QUEUE


def test_an_agent_may_be_heard_late() -> None:
    assert 2 * INTERVAL < SILENCE
