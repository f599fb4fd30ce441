"""FastStream as its documentation shows it: a subscriber that is a publisher."""

import asyncio
from typing import Any

from faststream import FastStream
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

from tests.bench.contenders import routing
from tests.bench.names import INPUT_QUEUE, OUTPUT_QUEUE, PEER_PREFETCH

broker = RabbitBroker(
    routing.amqp_url(), default_channel=Channel(prefetch_count=PEER_PREFETCH), logger=None
)


@broker.subscriber(RabbitQueue(INPUT_QUEUE, durable=True))
@broker.publisher(RabbitQueue(OUTPUT_QUEUE, durable=True), persist=True)
async def route(message: dict[str, Any]) -> dict[str, Any]:
    return routing.route(message)


if __name__ == "__main__":
    asyncio.run(FastStream(broker, logger=None).run())
