"""Who is there, with a session that delivers and takes what the test wants."""

import json
from collections.abc import Callable, Sequence
from typing import cast

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
        self.nursery = nursery

    async def start(self) -> None:
        session = cast("Session", self.session)
        await self.nursery.start(self.heartbeats.listen, session)
        self.nursery.start_soon(self.heartbeats.watch_for_silence, session)

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


@autojump
async def test_an_agent_comes_once_however_often_it_says_so() -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await world.start()
        await world.be_there()
        await world.be_there()
        assert world.online == {"alice": True}
        assert world.server.agents["alice"].agent_name == "Alice"
        assert world.passed_on == ["REGISTER_AGENT"]
        assert len(world.session.settled) == 2
        nursery.cancel_scope.cancel()


@autojump
async def test_an_agent_leaves_and_comes_back() -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await world.start()
        await world.be_there()
        await world.say(message_type="CLIENT_DISCONNECTED", agent_id="alice")
        assert world.online == {"alice": False}
        await world.be_there()
        assert world.online == {"alice": True}
        assert world.passed_on == ["REGISTER_AGENT", "CLIENT_DISCONNECTED", "REGISTER_AGENT"]
        nursery.cancel_scope.cancel()


@autojump
async def test_who_falls_silent_is_gone() -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await world.start()
        await world.be_there("alice")
        await world.be_there("bob")
        await trio.sleep(SILENCE - 1)
        await world.be_there("bob")
        await trio.sleep(4)
        assert world.online == {"alice": False, "bob": True}
        [publishing] = world.session.published
        assert publishing.queue == METADATA_QUEUE
        assert json.loads(publishing.body)["agent_id"] == "alice"
        nursery.cancel_scope.cancel()


@autojump
async def test_silence_does_not_count_without_a_session() -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await world.start()
        await world.be_there()
        nursery.cancel_scope.cancel()
    await trio.sleep(10 * SILENCE)
    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        await world.start()
        await trio.sleep(SILENCE - 1)
        assert world.online == {"alice": True}
        nursery.cancel_scope.cancel()


@autojump
async def test_what_it_does_not_understand_is_kept() -> None:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        await world.start()
        await world.say(message_type="TEXT")
        [settlement] = world.session.settled
        assert settlement.publishing is not None
        assert settlement.publishing.queue == UNKNOWN_QUEUE
        nursery.cancel_scope.cancel()


def test_an_agent_may_be_heard_late() -> None:
    assert 2 * INTERVAL < SILENCE
