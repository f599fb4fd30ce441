"""A plain AMQP client, so that the broker is not measured by its own code."""

import asyncio
from collections.abc import Sequence

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic


async def publish(
    url: str,
    queue: str,
    bodies: Sequence[bytes],
    properties: Basic.Properties | None = None,
) -> None:
    """Publish in order, with confirms."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        for start in range(0, len(bodies), 500):
            await asyncio.gather(
                *(
                    channel.basic_publish(
                        body,
                        routing_key=queue,
                        properties=properties or Basic.Properties(delivery_mode=2),
                        mandatory=True,
                        wait=False,  # type: ignore[call-arg]  # missing in the abstract class
                    )
                    for body in bodies[start : start + 500]
                )
            )


async def take(url: str, queue: str, count: int, patience: float = 20.0) -> list[DeliveredMessage]:
    """Take so many messages, or those that come until nothing came for a while."""
    messages: list[DeliveredMessage] = []
    arrived = asyncio.Event()

    async def on_message(message: DeliveredMessage) -> None:
        messages.append(message)
        arrived.set()

    async with aiormq.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        answer = await channel.basic_consume(queue, on_message, no_ack=True)
        try:
            while len(messages) < count:
                arrived.clear()
                async with asyncio.timeout(patience):
                    await arrived.wait()
        except TimeoutError:
            pass
        await channel.basic_cancel(str(answer.consumer_tag))
    return messages


async def ready_count(url: str, queue: str) -> int:
    """Return how many messages wait in a queue."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        answer = await channel.queue_declare(queue, passive=True)
        return answer.message_count or 0


async def declare(url: str, queue: str, arguments: dict[str, str | int] | None = None) -> None:
    """Declare a durable queue."""
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_declare(queue, durable=True, arguments=dict(arguments or {}))
