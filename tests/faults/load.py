"""The load: numbered chat messages into the input queue, with publisher confirms.

It goes to RabbitMQ directly, past the proxies, and shares no code with the broker.
"""

import asyncio
from collections.abc import Iterable, Sequence

import trio
from aiormq.abc import AbstractChannel
from anyio.from_thread import BlockingPortal
from pamqp.commands import Basic

from tests.faults import chat
from tests.faults.checker import Sent
from tests.faults.failure import ScenarioFailedError
from tests.faults.queue_client import LOST, close, connect

_BATCH_INTERVAL = 0.05
_RECONNECT_PAUSE = 0.2
_CONFIRM_TIMEOUT = 30.0
"""Seconds until the confirms of a batch are given up: they may still count as attempted."""
_POLL_INTERVAL = 0.05


class Load:
    """Publishes until it is stopped, and reconnects for as long as it takes.

    What was under way when a connection was lost stays attempted and unconfirmed; the load goes on
    with the next number.

    Attributes:
        sent: What went in so far.

    Args:
        portal: An asyncio event loop.
        urls: The node, or all nodes of a cluster; it goes to any that answers.
        queue: The input queue, which must exist.
        sent: Where to note what goes in; a load goes on where the one before ended.
        rate: Messages per second; None for as many as the window allows.
        window: How many may wait for their confirms.
    """

    def __init__(
        self,
        portal: BlockingPortal,
        urls: Iterable[str],
        queue: str,
        *,
        sent: Sent,
        rate: float | None,
        window: int,
    ) -> None:
        self.sent = sent
        self._portal = portal
        self._urls = tuple(urls)
        self._queue = queue
        self._rate = rate
        self._batch = window if rate is None else min(window, max(1, int(rate * _BATCH_INTERVAL)))
        self._poison: list[bytes] = []
        self._stopped = False

    async def run(self) -> None:
        """Publish until `stop`; then wait for the confirms that are under way, for 30 s at most.

        It is never cancelled.
        """
        with trio.CancelScope(shield=True):
            await self._portal.call_async(self._run)

    def stop(self) -> None:
        """Begin no further batch. Does not wait."""
        self._stopped = True

    def add_poison(self, *bodies: bytes) -> None:
        """Mix bodies that no broker can accept into the load, soon. All must be different."""
        self._poison += bodies

    async def confirmed(self, count: int, *, within: float = 120.0) -> None:
        """Wait until RabbitMQ has confirmed so many messages.

        Args:
            count: How many, from the start of the scenario.
            within: Seconds until it is too late.

        Raises:
            ScenarioFailedError: It confirmed fewer.
        """
        with trio.move_on_after(within):
            while len(self.sent.confirmed) < count:
                await trio.sleep(_POLL_INTERVAL)
            return
        raise ScenarioFailedError(
            f"after {within:g} s RabbitMQ has confirmed {len(self.sent.confirmed)} of {count}"
        )

    async def _run(self) -> None:
        while not self._stopped:
            try:
                connection = await connect(*self._urls)
            except LOST:
                await asyncio.sleep(_RECONNECT_PAUSE)
                continue
            try:
                await self._publish(await connection.channel())
            except LOST:
                await asyncio.sleep(_RECONNECT_PAUSE)
            finally:
                await close(connection)

    async def _publish(self, channel: AbstractChannel) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._stopped:
            numbers = range(self.sent.attempted, self.sent.attempted + self._batch)
            self.sent.attempted = numbers.stop
            poison, self._poison = self._poison, []
            self.sent.poison_attempted.update(poison)
            async with asyncio.timeout(_CONFIRM_TIMEOUT):
                outcomes = await asyncio.gather(
                    *(self._publish_one(channel, number) for number in numbers),
                    *(self._publish_poison(channel, body) for body in poison),
                    return_exceptions=True,
                )
            _raise_first(outcomes)
            if self._rate is not None:
                # After an outage the load goes on as before, without catching up.
                due = max(due + self._batch / self._rate, loop.time() - _BATCH_INTERVAL)
                await asyncio.sleep(due - loop.time())

    async def _publish_one(self, channel: AbstractChannel, number: int) -> None:
        if await self._confirmed(channel, chat.body(number)):
            self.sent.confirmed.add(number)

    async def _publish_poison(self, channel: AbstractChannel, body: bytes) -> None:
        if await self._confirmed(channel, body):
            self.sent.poison_confirmed.add(body)

    async def _confirmed(self, channel: AbstractChannel, body: bytes) -> bool:
        properties = Basic.Properties(delivery_mode=2, content_type="application/json")
        outcome = await channel.basic_publish(
            body, routing_key=self._queue, properties=properties, mandatory=True
        )
        return isinstance(outcome, Basic.Ack)


def _raise_first(outcomes: Sequence[BaseException | None]) -> None:
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
