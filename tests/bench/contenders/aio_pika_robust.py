"""aio-pika as its documentation shows it: robust connection, callback, publisher confirms."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from tests.bench.contenders.routing import amqp_url, route_body
from tests.bench.names import INPUT_QUEUE, OUTPUT_QUEUE, PEER_PREFETCH


async def main() -> None:
    connection = await aio_pika.connect_robust(amqp_url())
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=PEER_PREFETCH)
        queue = await channel.declare_queue(INPUT_QUEUE, durable=True)
        await channel.declare_queue(OUTPUT_QUEUE, durable=True)

        async def on_message(message: AbstractIncomingMessage) -> None:
            async with message.process():
                await channel.default_exchange.publish(
                    aio_pika.Message(
                        route_body(message.body),
                        content_type="application/json",
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    routing_key=OUTPUT_QUEUE,
                )

        await queue.consume(on_message)
        await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
