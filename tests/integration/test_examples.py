"""The agents and the server of docs/protocol.md, as they stand there, and an embedded broker."""

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from broker.sandbox.broker_process import COMMAND, BrokerProcess, open_broker
from broker.sandbox.free_ports import free_ports
from tests.integration.rig import terminate
from tests.lab.amqp_client import AmqpClient
from tests.lab.eventually import PATIENCE, eventually
from tests.lab.rabbitmq_node import RabbitmqNode

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
PIKA, AIO_PIKA, SERVER = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
EMBEDDING = (ROOT / "examples" / "embedding.py").read_text(encoding="utf-8")

VHOST = "examples"
"""They use the queues' usual names, as other tests may do."""
HELLO: dict[str, object] = {
    "message_type": "REGISTER_AGENT",
    "agent_id": "tester",
    "agent_name": "Tester",
}


def body(message: dict[str, object]) -> bytes:
    return json.dumps(message).encode()


def question(number: int, receiver_id: str) -> bytes:
    return body(
        {
            "message_type": "TEXT",
            "message_id": f"m-{number}",
            "sender_id": "tester",
            "receiver_id": receiver_id,
            "text_payload": "Is anybody there?",
        }
    )


class System:
    """All processes, and an agent that is the test itself."""

    def __init__(self, client: AmqpClient, url: str, directory: Path, stack: AsyncExitStack):
        self._client = client
        self._directory = directory
        self._stack = stack
        self._settings = {
            "AMQP_URL": url,
            "PORT": str(free_ports(1)[0]),
            "PYTHONUNBUFFERED": "1",
            # What is not online yet will be, so nobody has to be waited for.
            "BROKER_RECEIVER": "require",
            "BROKER_HOLD": str(2 * PATIENCE),
        }
        self._settings["WEBSOCKET_URL"] = f"ws://localhost:{self._settings['PORT']}/ws"

    async def start(self, name: str, code: str | None = None) -> BrokerProcess:
        """Start a program, or else the broker."""
        directory = self._directory / name
        directory.mkdir()
        (directory / "program.py").write_text(code or "", encoding="utf-8")
        command = COMMAND if code is None else (sys.executable, "program.py")
        opening = open_broker(directory, self._settings, command)
        return await self._stack.enter_async_context(opening)

    async def stay_online(self) -> None:
        while True:
            await self._client.publish("central_server_agent_queue", body(HELLO))
            await trio.sleep(3)

    async def publish(self, *bodies: bytes) -> None:
        await self._client.publish("broker_input_queue", *bodies)

    async def ask(self, *bodies: bytes) -> dict[str, list[str]]:
        """Ask, and return who answered which messages, with the ids of the answers."""
        await self.publish(*bodies)
        mine = "agent_queue_tester"
        taken = await self._client.take_until_quiet(mine, len(bodies), PATIENCE)
        replies = [json.loads(message.body) for message in taken]
        assert {reply["message_type"] for reply in replies} == {"REPLY"}
        assert {reply["text_payload"] for reply in replies} == {"You said: Is anybody there?"}
        return {
            reply["sender_id"]: [reply["in_reply_to_message_id"], reply["message_id"]]
            for reply in replies
        }


@pytest.fixture
async def system(rabbitmq: RabbitmqNode, tmp_path: Path) -> AsyncIterator[System]:
    await rabbitmq.ctl("add_vhost", VHOST)
    await rabbitmq.ctl("set_permissions", "-p", VHOST, "guest", ".*", ".*", ".*")
    url = f"{rabbitmq.url.rstrip('/')}/{VHOST}"
    client = AmqpClient(url)
    await client.declare("broker_input_queue", "central_server_agent_queue", "agent_queue_tester")
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        system = System(client, url, tmp_path, stack)
        nursery.start_soon(system.stay_online)
        yield system
        nursery.cancel_scope.cancel()
    await rabbitmq.ctl("delete_vhost", VHOST)


async def test_they_make_a_system(system: System) -> None:
    server = await system.start("server", SERVER)
    await system.start("echo", PIKA)
    await system.start("parrot", AIO_PIKA)
    broker = await system.start("broker")
    answers = {"echo": ["m-1", "re-m-1"], "parrot": ["m-2", "re-m-2"]}
    questions = (question(1, "echo"), question(2, "parrot"))

    assert await system.ask(*questions) == answers
    assert await system.ask(*questions) == answers  # a repeat is recognized by the same id

    assert await terminate(broker, within=PATIENCE) == 0
    embedded = await system.start("embedding", EMBEDDING)
    assert await system.ask(question(3, "echo")) == {"echo": ["m-3", "re-m-3"]}

    failed = body({"message_type": "ERROR", "sender_id": "tester", "text_payload": "I am lost."})
    await system.publish(failed)
    await eventually(
        lambda: f"for the server: {failed.decode()}" in server.log.read_text(),
        "what is for the server itself",
    )
    assert await terminate(embedded, within=PATIENCE) == 0
