"""Takes everything out of a queue as it comes, so that the queue is empty almost always."""

import asyncio
from collections.abc import Iterable

import trio
from aiormq.abc import AbstractConnection, DeliveredMessage
from anyio.from_thread import BlockingPortal

from tests.faults.queue_client import LOST, TIMEOUT, close, connect, taken
from tests.faults.taken import Taken

_POLL_INTERVAL = 0.05
_PAUSE = 0.1
"""Seconds until it is looked again whether there is a queue, and which aiormq has to hand out what
has arrived."""


class Collector:
    """Collects until it is stopped. A queue that is deleted is waited for.

    Args:
        portal: An asyncio event loop.
        urls: The node, or all nodes of a cluster; it goes to any that answers.
        queue: The queue. What is on its way when a node dies is lost with it.
        collected: Where to put what comes.
    """

    def __init__(
        self, portal: BlockingPortal, urls: Iterable[str], queue: str, collected: list[Taken]
    ) -> None:
        self._portal = portal
        self._urls = tuple(urls)
        self._queue = queue
        self._collected = collected
        self._stopped = False

    async def run(self) -> None:
        """Collect until `stop`. It is never cancelled."""
        with trio.CancelScope(shield=True):
            await self._portal.call_async(self._run)

    def stop(self) -> None:
        """Take no more. Does not wait."""
        self._stopped = True

    async def _run(self) -> None:
        while not self._stopped:
            try:
                connection = await connect(*self._urls)
                try:
                    await self._collect(connection)
                finally:
                    await close(connection)
            except LOST:
                await asyncio.sleep(_PAUSE)

    async def _collect(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        deleted = asyncio.Event()
        channel.on_consumer_cancel_callbacks.add(lambda _: deleted.set())

        async def collect(message: DeliveredMessage) -> None:
            self._collected.append(taken(message))

        answer = await channel.basic_consume(self._queue, collect, no_ack=True, timeout=TIMEOUT)
        while not (self._stopped or deleted.is_set()):
            await asyncio.sleep(_POLL_INTERVAL)
        if not deleted.is_set():
            await channel.basic_cancel(str(answer.consumer_tag), timeout=TIMEOUT)
        # All that was sent has arrived by now.
        await asyncio.sleep(_PAUSE)
