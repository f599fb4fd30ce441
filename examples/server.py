"""A central server, with websockets and aio-pika: it knows who is online, and delivers."""

import asyncio
import json
import os
import time
from typing import Any

from aio_pika import Message, connect_robust
from aio_pika.abc import AbstractChannel
from websockets.asyncio.server import ServerConnection, broadcast, serve

SILENCE = 10.0  # seconds after which an agent that has said nothing is offline

brokers: set[ServerConnection] = set()
agents: dict[str, dict[str, Any]] = {}  # all that were ever seen
heard: dict[str, float] = {}  # those that are online, and when they said so


async def talk_to_broker(broker: ServerConnection) -> None:
    try:
        async for frame in broker:
            match json.loads(frame)["message_type"]:
                case "REGISTER_BROKER":
                    answer = {"message_type": "REGISTER_BROKER_RESPONSE", "status": "success"}
                    await broker.send(json.dumps({**answer, "broker_id": f"broker-{broker.id}"}))
                    brokers.add(broker)
                case "REQUEST_AGENT_STATUS":  # the broker asks as soon as it is registered
                    await broker.send(status_update(list(agents.values()), is_full=True))
    finally:
        brokers.discard(broker)


def status_update(some: list[dict[str, Any]], *, is_full: bool) -> str:
    update = {"message_type": "AGENT_STATUS_UPDATE", "agents": some, "is_full_update": is_full}
    return json.dumps(update)


def tell(agent_id: str, **change: object) -> None:
    agents[agent_id] = {**agents.get(agent_id, {}), "agent_id": agent_id, **change}
    broadcast(brokers, status_update([agents[agent_id]], is_full=False))


async def hear_agents(channel: AbstractChannel) -> None:
    queue = await channel.declare_queue("central_server_agent_queue", durable=True)
    async with queue.iterator() as messages:
        async for message in messages:
            async with message.process(requeue=True):
                said = json.loads(message.body)
                if said["agent_id"] not in heard:
                    tell(said["agent_id"], agent_name=said.get("agent_name"), is_online=True)
                heard[said["agent_id"]] = time.monotonic()


async def notice_silence() -> None:
    while True:
        await asyncio.sleep(1)
        for agent_id in [one for one, at in heard.items() if at < time.monotonic() - SILENCE]:
            del heard[agent_id]
            tell(agent_id, is_online=False)


async def deliver(channel: AbstractChannel) -> None:
    output = await channel.declare_queue("broker_output_queue", durable=True)
    async with output.iterator() as messages:
        async for message in messages:
            async with message.process(requeue=True):  # acknowledges once it is delivered
                routed = json.loads(message.body)
                if routed["message_type"] in {"TEXT", "REPLY", "SYSTEM"}:
                    queue = f"agent_queue_{routed['receiver_id']}"
                    await channel.declare_queue(queue, durable=True)
                    body = Message(message.body, delivery_mode=2)
                    await channel.default_exchange.publish(body, queue)
                else:
                    print("for the server:", message.body.decode())


async def main() -> None:
    port = int(os.environ.get("PORT", "8765"))
    async with (
        await connect_robust(os.environ["AMQP_URL"]) as connection,
        connection.channel() as channel,
        serve(talk_to_broker, "localhost", port),
        asyncio.TaskGroup() as tasks,
    ):
        await channel.set_qos(prefetch_count=100)
        tasks.create_task(hear_agents(channel))
        tasks.create_task(notice_silence())
        tasks.create_task(deliver(channel))


asyncio.run(main())
