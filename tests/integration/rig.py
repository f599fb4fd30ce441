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

from broker.core.messages import AgentStatus
from tests.lab.amqp_client import AmqpClient
from tests.lab.amqp_connection import Message
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.running_broker import RunningBroker, running_broker

_numbers = count(1)


class Rig(AmqpClient):
    """The surroundings of one test, and a client of its RabbitMQ."""

    def __init__(self, node: RabbitmqNode, directory: Path) -> None:
        super().__init__(node.url)
        self.node = node
        self.directory = directory
        number = next(_numbers)
        self.input = f"input_{number}"
        self.output = f"output_{number}"
        self.metadata = f"metadata_{number}"
        self.advertisement = f"advertisement_{number}"
        self.dead_letter = f"dead_letter_{number}"
        self.hold = f"hold_{number}"
        self.registry_exchange = f"registry_events_{number}"

    def settings(self, websocket_url: str, **settings: str) -> dict[str, str]:
        """Return the settings of a broker on this rig's queues, with some of a test's own."""
        return {
            "AMQP_URL": self.node.url,
            "BROKER_LOG_LEVEL": "debug",
            "WEBSOCKET_URL": websocket_url,
            "BROKER_INPUT_QUEUE": self.input,
            "BROKER_OUTPUT_QUEUE": self.output,
            "BROKER_METADATA_QUEUE": self.metadata,
            "BROKER_ADVERTISEMENT_QUEUE": self.advertisement,
            "BROKER_DEAD_LETTER_QUEUE": self.dead_letter,
            "BROKER_HOLD_QUEUE": self.hold,
            "BROKER_REGISTRY_EXCHANGE": self.registry_exchange,
            **settings,
        }

    @asynccontextmanager
    async def broker(
        self, websocket_url: str, *, command: Sequence[str] | None = None, **settings: str
    ) -> AsyncIterator[RunningBroker]:
        async with running_broker(
            self.directory, self.settings(websocket_url, **settings), command
        ) as broker:
            yield broker

    @asynccontextmanager
    async def routing(self, websocket_url: str, **settings: str) -> AsyncIterator[RunningBroker]:
        """Run a broker that routes, and see that it stops as asked unless the test has ended it."""
        async with self.broker(websocket_url, **settings) as broker:
            await self.logged("routing_started")
            yield broker
            if broker.is_running:
                assert await terminate(broker, within=12) == 0

    async def decided(self, *bodies: bytes, queue: str | None = None) -> list[str]:
        """Publish chat messages, and return who receives each, or why nobody does."""
        await self.publish(queue or self.input, *bodies)
        return outcomes(await self.take(self.output, len(bodies)))

    async def logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        return await eventually(
            lambda: [line for line in self.log() if line["event"] == event],
            f"{event} {times} times in the log",
            until=lambda found: len(found) >= times,
        )

    async def updated(self, times: int, *, full: bool) -> None:
        """Wait until the registry has been updated so often, as the log for debugging has it.

        A broker asks for a full update when it has registered, and so has two of them then. It gets
        another one when an unknown agent sends, but not when a client does, who has a `_client_id`.
        """
        await eventually(
            lambda: sum(
                line["event"] == "registry_updated" and line["full"] is full for line in self.log()
            ),
            f"{times} status updates applied",
            until=lambda applied: applied >= times,
        )

    def log(self) -> Iterator[dict[str, Any]]:
        for line in (self.directory / "broker.log").read_text().splitlines(keepends=True):
            # The latest may not be written to its end yet.
            if line.startswith("{") and line.endswith("\n"):
                yield json.loads(line)


def bring_online(server: CentralServer, number: int = 5) -> list[str]:
    agents = [
        AgentStatus(f"agent_{index}", f"Agent {index}", is_online=True) for index in range(number)
    ]
    server.update(*agents)
    return [agent.agent_id for agent in agents]


def text(number: int, sender_id: str, **fields: object) -> bytes:
    message = {
        "message_type": "TEXT",
        "message_id": f"m-{number}",
        "sender_id": sender_id,
        "text_payload": f"hello {number}",
        "send_timestamp": "2026-01-01T00:00:00Z",
        **fields,
    }
    return json.dumps(message).encode()


def ids(messages: Sequence[Message]) -> list[str]:
    return [json.loads(message.body)["message_id"] for message in messages]


def outcomes(messages: Sequence[Message]) -> list[str]:
    """Return who receives each message, or why nobody does."""
    decoded = [json.loads(message.body) for message in messages]
    return [one["reason"] if "reason" in one else one["receiver_id"] for one in decoded]


def register(agent_id: str, **fields: object) -> bytes:
    return json.dumps({"message_type": "REGISTER_AGENT", "agent_id": agent_id, **fields}).encode()


def disconnect(agent_id: str) -> bytes:
    return json.dumps({"message_type": "CLIENT_DISCONNECTED", "agent_id": agent_id}).encode()


async def terminate(broker: RunningBroker, within: float) -> int:
    os.kill(broker.pid, signal.SIGTERM)
    with trio.fail_after(within):
        return await broker.wait()
