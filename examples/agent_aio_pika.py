"""An agent that answers each TEXT by a REPLY, with aio-pika."""

import asyncio
import json
import os

from aio_pika import Message, connect_robust
from aio_pika.abc import AbstractChannel

ME = "parrot"


async def send(channel: AbstractChannel, queue: str, **message: str) -> None:
    body = Message(json.dumps(message).encode(), delivery_mode=2)
    await channel.default_exchange.publish(body, queue)  # it is sent when RabbitMQ has it


async def stay_online(channel: AbstractChannel) -> None:
    hello = {"message_type": "REGISTER_AGENT", "agent_id": ME, "agent_name": "Parrot"}
    while True:
        await send(channel, "central_server_agent_queue", **hello)
        await asyncio.sleep(3)


async def main() -> None:
    async with await connect_robust(os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        for queue in ("central_server_agent_queue", "broker_input_queue"):
            await channel.declare_queue(queue, durable=True)
        mine = await channel.declare_queue(f"agent_queue_{ME}", durable=True)
        async with asyncio.TaskGroup() as tasks, mine.iterator() as deliveries:
            tasks.create_task(stay_online(channel))
            async for delivery in deliveries:
                async with delivery.process(requeue=True):  # acknowledges at its end
                    asked = json.loads(delivery.body)
                    if asked["message_type"] == "TEXT":
                        await answer(channel, asked)


async def answer(channel: AbstractChannel, asked: dict[str, str]) -> None:
    await send(
        channel,
        "broker_input_queue",
        message_type="REPLY",
        message_id=f"re-{asked['message_id']}",  # the same when it is asked again
        sender_id=ME,
        receiver_id=asked["sender_id"],
        in_reply_to_message_id=asked["message_id"],
        text_payload=f"You said: {asked['text_payload']}",
    )


asyncio.run(main())
