"""A sample agent as a process, with a real RabbitMQ, server and broker around it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.cli.application import execute
from broker.sandbox.agent_heartbeats import AGENTS_QUEUE
from broker.sandbox.server_queues import QUEUES, agent_queue
from tests.lab.amqp_client import AmqpClient
from tests.lab.proxy import open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.programs import Programs, free_port, open_programs

SERVE = ("sandbox", "serve")
ACT = ("sandbox", "act")


@pytest.fixture
async def programs(rabbitmq: RabbitmqNode, tmp_path: Path) -> AsyncIterator[Programs]:
    port = free_port()
    settings = {"AMQP_URL": rabbitmq.url, "WEBSOCKET_URL": f"ws://127.0.0.1:{port}/ws"}
    async with open_programs(tmp_path, settings) as programs:
        yield programs
    # These names are fixed, and other tests use them too.
    queues = (*QUEUES, AGENTS_QUEUE, *map(agent_queue, ("alice", "bob")))
    client = AmqpClient(rabbitmq.url)
    await client.declare(*queues)
    await client.delete(*queues)


async def test_a_message_goes_round(programs: Programs) -> None:
    port = programs.settings["WEBSOCKET_URL"].split(":")[2].partition("/")[0]
    server = await programs.start(*SERVE, "--port", port)
    broker = await programs.start()
    alice = await programs.start(*ACT, "--agent", "Alice")
    bob = await programs.start(*ACT, "--agent", "Bob")

    question = await bob.logged("received", message_type="TEXT", sender_id="alice")
    await alice.logged("sent", message_type="TEXT", message_id=question["message_id"])
    answer = await alice.logged("received", message_type="REPLY", sender_id="bob")
    await bob.logged("sent", message_type="REPLY", message_id=answer["message_id"])
    await bob.logged("received", message_type="REPLY", sender_id="alice")

    assert await bob.stop() == 0
    await server.logged("agent_left", agent_id="bob")
    assert server.found("agent_silent") == []  # it said goodbye
    await server.logged("from_broker", message_type="ERROR", reason="only_sender_online")
    assert await alice.stop() == 0
    assert await broker.stop() == 0
    assert await server.stop() == 0


async def test_it_waits_for_rabbitmq_comes_back_after_a_loss_and_stops_in_one(
    programs: Programs, rabbitmq: RabbitmqNode
) -> None:
    async with open_proxy(rabbitmq.port) as proxy:
        proxy.refuse()
        alice = await programs.start(
            *ACT, "--agent", "Alice", AMQP_URL=f"amqp://127.0.0.1:{proxy.port}"
        )
        await alice.logged("amqp_lost")
        assert alice.found("sent") == []

        proxy.heal()
        await alice.logged("sent")

        proxy.reset()
        await alice.logged("amqp_connected", times=2)
        await alice.logged("sent", times=len(alice.found("sent")) + 1)

        proxy.refuse()
        proxy.reset()
        await alice.logged("amqp_lost", times=len(alice.found("amqp_lost")) + 1)
        assert await alice.stop() == 0


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 51, "a\n"])
def test_a_wrong_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["sandbox", "act", "--agent", name]) == 2
    assert "--agent must be 1 to 50 letters" in capsys.readouterr().err


def test_wrong_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RABBITMQ_PORT", "none")
    assert execute(["sandbox", "act", "--agent", "Alice"]) == 2
    assert capsys.readouterr().err.startswith("broker: RABBITMQ_PORT must be a port")
