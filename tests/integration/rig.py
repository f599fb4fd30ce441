"""Everything around a broker under test: queues of its own, a server, a client, a process."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import trio
from aiormq.abc import DeliveredMessage
from anyio.from_thread import BlockingPortal, start_blocking_portal
from pamqp.commands import Basic

from broker.core.messages import AgentStatus
from broker.sandbox.broker_process import COMMAND, BrokerProcess, open_broker
from tests.amqp.raw_amqp import RawRabbitmq
from tests.lab.central_server import CentralServer
from tests.lab.rabbitmq_node import RabbitmqNode

_numbers = count(1)
PATIENCE = 30.0


class Rig:
    """One test's surroundings."""

    def __init__(self, node: RabbitmqNode, portal: BlockingPortal, directory: Path) -> None:
        self.node = node
        self.directory = directory
        self._raw = RawRabbitmq(portal, node.url)
        number = next(_numbers)
        self.input = f"input_{number}"
        self.output = f"output_{number}"
        self.metadata = f"metadata_{number}"
        self.advertisement = f"advertisement_{number}"
        self.dead_letter = f"dead_letter_{number}"
        self.registry_exchange = f"registry_events_{number}"

    def settings(self, websocket_url: str, **settings: str) -> dict[str, str]:
        """Return the settings of a broker on this rig's queues, with some of a test's own."""
        return {
            "AMQP_URL": self.node.url,
            "WEBSOCKET_URL": websocket_url,
            "BROKER_INPUT_QUEUE": self.input,
            "BROKER_OUTPUT_QUEUE": self.output,
            "BROKER_METADATA_QUEUE": self.metadata,
            "BROKER_ADVERTISEMENT_QUEUE": self.advertisement,
            "BROKER_DEAD_LETTER_QUEUE": self.dead_letter,
            "BROKER_REGISTRY_EXCHANGE": self.registry_exchange,
            **settings,
        }

    @asynccontextmanager
    async def broker(
        self, websocket_url: str, *, command: Sequence[str] = COMMAND, **settings: str
    ) -> AsyncIterator[BrokerProcess]:
        """Run a broker on this rig's queues."""
        given = self.settings(websocket_url, **settings)
        async with open_broker(self.directory, given, command) as broker:
            yield broker

    async def publish(
        self, queue: str, *bodies: bytes, properties: Basic.Properties | None = None
    ) -> None:
        with trio.fail_after(2 * PATIENCE):
            await self._raw.publish(queue, *bodies, properties=properties)

    async def publish_content(self, queue: str, *contents: tuple[bytes, bytes]) -> None:
        """Publish pairs of hand-made properties (flags included) and body."""
        with trio.fail_after(2 * PATIENCE):
            await self._raw.publish_content(queue, *contents)

    async def take(self, queue: str, most: int) -> list[DeliveredMessage]:
        with trio.fail_after(2 * PATIENCE):
            return await self._raw.take_until_quiet(queue, most, 20)

    async def take_all(self, queue: str) -> list[DeliveredMessage]:
        """Take what waits in a queue now."""
        return await self.take(queue, await self.ready_count(queue))

    async def ready_count(self, *queues: str) -> int:
        """Count what waits in one queue, or in some together."""
        with trio.fail_after(PATIENCE):
            return sum([await self._raw.ready(queue) for queue in queues])

    async def declare(self, queue: str, **arguments: str | int) -> None:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        await self._raw.declare(queue, **named)

    async def logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until the broker has logged an event so many times."""
        with trio.fail_after(PATIENCE):
            while len(found := [line for line in self.log() if line["event"] == event]) < times:
                await trio.sleep(0.05)
        return found

    def log(self) -> Iterator[dict[str, Any]]:
        for line in (self.directory / "broker.log").read_text().splitlines():
            if line.startswith("{"):
                yield json.loads(line)


@asynccontextmanager
async def open_rig(node: RabbitmqNode, directory: Path) -> AsyncIterator[Rig]:
    """Give a rig an asyncio event loop for its client."""
    with start_blocking_portal("asyncio") as portal:
        yield Rig(node, portal, directory)


def bring_online(server: CentralServer, number: int = 5) -> list[str]:
    """Set agents online at the server, and return their ids."""
    agents = [
        AgentStatus(f"agent_{index}", f"Agent {index}", is_online=True) for index in range(number)
    ]
    server.update(*agents)
    return [agent.agent_id for agent in agents]


def text(number: int, sender_id: str, **fields: object) -> bytes:
    """Return a TEXT message with a recognisable id."""
    message = {
        "message_type": "TEXT",
        "message_id": f"m-{number}",
        "sender_id": sender_id,
        "text_payload": f"hello {number}",
        "send_timestamp": "2026-01-01T00:00:00Z",
        **fields,
    }
    return json.dumps(message).encode()


def ids(messages: Sequence[DeliveredMessage]) -> list[str]:
    """Return the ids of chat messages, in order."""
    return [json.loads(message.body)["message_id"] for message in messages]


async def terminate(broker: BrokerProcess, within: float) -> int:
    """Send SIGTERM, and return the exit code."""
    os.kill(broker.pid, signal.SIGTERM)
    with trio.fail_after(within):
        return await broker.wait()
