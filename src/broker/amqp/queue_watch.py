"""Look at queues every few seconds, on a connection of its own, so that nothing waits for it.

A look is a passive declaration: RabbitMQ answers with the numbers of messages and consumers, and
needs no plugin for that. It counts as a use of the queue, so one with `x-expires` does not expire
while it is watched. RabbitMQ logs each look at a queue that is missing or refused; such a queue is
looked at ever more rarely. Whatever happens here, the session goes on.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from aiormq import Channel

from broker.amqp.connection import Connection
from broker.amqp.queue_history import QueueCounts, QueueHistory
from broker.amqp.wire.errors import AmqpError, is_being_cancelled, is_refusal, translated
from broker.net.backoff import Backoff

_TIMEOUT = 5.0
"""Seconds for an answer. Meanwhile the other queues wait for their turn."""
_LONGEST_PAUSE = 300.0
"""Seconds between two looks at a queue that is missing, and between two tries to connect."""
_LONGEST_LOSS = 30.0
"""Seconds until a connection that was lost is replaced. A look may cost it, and the other queues
are out of sight meanwhile."""

_log = structlog.get_logger(__name__)


class QueueWatch:
    """Looks at queues while a session lives. Runs in the asyncio event loop.

    Attributes:
        counts: What was seen last, by queue; nothing of queues that could not be looked at. Another
            thread may ask, too.

    Args:
        connect: Makes a connection for a purpose, not open yet.
        intervals: Seconds between two looks, by queue; at least one.
        is_blocked: Whether there is an alarm, in which RabbitMQ is left alone.
    """

    def __init__(
        self,
        connect: Callable[[str], Connection],
        intervals: Mapping[str, float],
        is_blocked: Callable[[], bool],
    ) -> None:
        self._connect = connect
        self._queues = [_Queue(name, interval) for name, interval in intervals.items()]
        self._is_blocked = is_blocked
        self._interval = min(intervals.values(), default=0.0)
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self.counts: dict[str, QueueCounts] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        refusals = Backoff(initial=self._interval, maximum=_LONGEST_PAUSE)
        losses = Backoff(initial=self._interval, maximum=_LONGEST_LOSS)
        loop = asyncio.get_running_loop()
        logged: str | None = None
        while True:
            self._connection = connection = self._connect("look")
            opened_at: float | None = None
            try:
                await connection.open()
                logged, opened_at = None, loop.time()
                await self._keep_looking(connection)
            except AmqpError as error:
                if is_being_cancelled():
                    # aiormq, when it is cancelled, may raise something else in its place.
                    raise asyncio.CancelledError from error
                log = _log.debug if str(error) == logged else _log.warning
                log("queue_watch_failed", error=str(error))
                logged = str(error)
            if opened_at is None:
                pause = refusals.next()
            else:
                refusals = Backoff(initial=self._interval, maximum=_LONGEST_PAUSE)
                pause = losses.after(loop.time() - opened_at)
            self._forget()
            await connection.close()
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close the connection. Never raises; takes two seconds at most."""
        if self._connection is not None:
            await self._connection.close()

    async def _keep_looking(self, connection: Connection) -> None:
        """Look until the connection is lost, which raises `AmqpError`."""
        loop = asyncio.get_running_loop()
        self._channel = None
        while True:
            if self._is_blocked():
                self._forget()
                await asyncio.sleep(self._interval)
                continue
            for queue in self._queues:
                if queue.due <= loop.time():
                    await self._look(queue, connection)
            due = min(queue.due for queue in self._queues)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _look(self, queue: "_Queue", connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        channel = await self._take_channel(connection)
        try:
            with translated(f"looking at queue {queue.name!r}"):
                found = await channel.queue_declare(queue.name, passive=True, timeout=_TIMEOUT)
        except AmqpError as error:
            if not is_refusal(error.__cause__):
                raise
            _log.debug("queue_not_shown", queue=queue.name, error=str(error))
            self.counts.pop(queue.name, None)
            queue.not_seen(loop.time())
        else:
            self._channel = channel
            messages, consumers = found.message_count or 0, found.consumer_count or 0
            self.counts[queue.name] = queue.seen(loop.time(), messages, consumers)

    async def _take_channel(self, connection: Connection) -> Channel:
        """Return a channel, which is put back unless RabbitMQ has closed it."""
        channel, self._channel = self._channel, None
        if channel is None:
            with translated("opening a channel"):
                channel = await connection.channel()
        return channel

    def _forget(self) -> None:
        """Drop all numbers: they would be taken for those of now."""
        self.counts.clear()
        for queue in self._queues:
            queue.history = QueueHistory()


class _Queue:
    """When to look at a queue, and what was seen of it."""

    def __init__(self, name: str, interval: float) -> None:
        self.name = name
        self.due = 0.0
        self.history = QueueHistory()
        self._interval = self._pause = interval

    def seen(self, now: float, messages: int, consumers: int) -> QueueCounts:
        self._pause = self._interval
        self.due = now + self._pause
        return self.history.add(now, messages, consumers)

    def not_seen(self, now: float) -> None:
        self.history = QueueHistory()
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self.due = now + self._pause
