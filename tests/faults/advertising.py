"""A central server that advertises itself: the broker tries it about once a second."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tests.faults.environment import Environment

_ADVERTISEMENT = (
    b'{"message_type": "SERVER_AVAILABLE", "server_id": "s", "websocket_url": "ws://127.0.0.1/ws"}'
)
_PAUSE = 0.3


@asynccontextmanager
async def advertising(env: Environment, at_once: int = 1) -> AsyncIterator[None]:
    """Advertise the server a few times a second while the block runs."""

    async def advertise() -> None:
        while True:
            await env.client.publish(env.queues.advertisement, *[_ADVERTISEMENT] * at_once)
            await trio.sleep(_PAUSE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(advertise)
        yield
        nursery.cancel_scope.cancel()
