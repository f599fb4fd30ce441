"""What each key does, to parts that only take note of it."""

from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from broker.sandbox.accounting import Ledger
from broker.sandbox.central_server import CentralServer
from broker.sandbox.controls import HINT, Controls
from broker.sandbox.outbox import Outbox
from broker.sandbox.presence import Presence
from tests.lab.autojump import autojump
from tests.sandbox.test_picture import some_agents


class FakeBroker:
    """Dies at once, and is back after a second."""

    def __init__(self) -> None:
        self.is_up = True

    def kill(self) -> bool:
        was_up, self.is_up = self.is_up, False
        return was_up

    async def started_again(self) -> None:
        await trio.sleep(1)
        self.is_up = True


class FakeNode:
    """Takes two seconds to start."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def kill(self) -> None:
        await trio.lowlevel.checkpoint()
        self.calls.append("kill")

    async def start(self) -> None:
        await trio.sleep(2)
        self.calls.append("start")


class World:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.ledger = Ledger(trio.current_time)
        self.server = CentralServer(1)
        self.node = FakeNode()
        node: Any = self.node
        broker: Any = FakeBroker()
        self.quits = 0
        agents = some_agents(3, self.ledger)
        self.presence = Presence(agents, server=self.server, outbox=Outbox(), random=Random(1))
        self.controls = Controls(
            ledger=self.ledger,
            server=self.server,
            broker=broker,
            node=node,
            presence=self.presence,
            random=Random(1),
            nursery=nursery,
            quit=self.quit,
        )

    def quit(self) -> None:
        self.quits += 1

    def told(self) -> list[str]:
        return [event.text for event in self.ledger.feed.events]


@pytest.fixture
def world(nursery: trio.Nursery) -> World:
    return World(nursery)


@autojump
async def test_the_server_is_paused_and_goes_on(world: World) -> None:
    serving = []
    for key in "ppp":
        world.controls.press(key)
        serving.append(world.server.serving.is_open)
    assert serving == [False, True, False]
    for _ in range(2):
        world.controls.resume()
        assert world.server.serving.is_open
    assert world.told() == ["server paused", "server goes on"] * 2


@autojump
async def test_killing_the_broker_and_what_was_in_flight(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def has_broker(_: CentralServer) -> None:
        await trio.sleep(0.5)

    monkeypatch.setattr(CentralServer, "has_broker", has_broker)
    for number in range(2):
        world.ledger.record_sent(f"m{number}", "alice")
    world.controls.press("k")
    world.controls.press("k")
    await trio.sleep(10)
    for number in range(2):
        world.ledger.record_failed(f"m{number}")
    assert world.told() == [
        "broker killed, 2 messages in flight",
        "broker back after 1.5 s",
        "nothing lost, all 2 are accounted for",
    ]


@autojump
async def test_killing_rabbitmq(world: World) -> None:
    world.controls.press("r")
    world.controls.press("r")
    was_up = world.controls.is_rabbitmq_up
    await trio.sleep(10)
    assert (was_up, world.controls.is_rabbitmq_up) == (False, True)
    assert world.node.calls == ["kill", "start"]
    assert world.told() == ["RabbitMQ killed, 0 messages in flight", "RabbitMQ back after 2.0 s"]


@autojump
async def test_agents_come_and_go(world: World) -> None:
    for _ in range(4):
        world.controls.press("a")
    assert len(world.presence.online) == 3
    assert world.told()[-1] == "all agents are online"
    for _ in range(3):
        world.controls.press("o")
    assert len(world.presence.online) == 1
    assert world.told()[-1] == "the last agent stays"


@autojump
async def test_quitting_and_keys_without_a_meaning(world: World) -> None:
    for key in "x1\n ":
        world.controls.press(key)
    assert world.told() == []
    world.controls.press("q")
    assert world.quits == 1


def test_the_hint_names_all_keys_and_fits_eighty_columns() -> None:
    assert {word for word in HINT.replace("/", " ").split() if len(word) == 1} == set("pkraoq")
    assert len(HINT) < 80
