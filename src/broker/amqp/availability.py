"""Queues that are published to: which of them are unavailable, and when they are back."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import structlog

from broker.amqp.wire.errors import QueueUnavailableError
from broker.net.backoff import Backoff

LONGEST_PAUSE = 5.0
"""Seconds between two tries to find or create a queue that messages wait for."""
_SUSPECT_AFTER = 5
"""Calls of `Availability.waiting`, one a second, after which a queue is looked for that exists as
far as is known, and takes nothing."""
_REFUSES = "it takes no messages now: it is full, or has no majority of its replicas"

_log = structlog.get_logger(__name__)


class QueueAvailability:
    """Finds or creates queues, with growing pauses while RabbitMQ refuses.

    Attributes:
        problems: Why RabbitMQ does not let queues be used, by queue. Another thread may copy it.

    Args:
        ensure: Creates a queue if it is missing; raises `QueueUnavailableError` when refused.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        ensure: Callable[[str], Awaitable[None]],
    ) -> None:
        self._spawn = spawn
        self._ensure = ensure
        self._trials: dict[str, asyncio.Task[None]] = {}
        self._waiting_for: dict[str, int] = {}
        self.problems: dict[str, str] = {}

    async def wait(self, queue: str) -> None:
        """Wait until a queue that returned messages is there, however long it takes.

        All tasks that wait for the same queue share the tries.

        Raises:
            AmqpError: No connection could be opened.
        """
        # Cancelling one task that waits is no reason to stop.
        await asyncio.shield(self._trial(queue))

    def refused(self, queue: str, problem: str) -> None:
        """Take note that a queue is unavailable, and try again in the background."""
        self._note(queue, problem)
        self._trial(queue)

    def waiting(self, queues: Iterable[str]) -> None:
        """Take note of the queues that messages wait for; to be called once a second.

        RabbitMQ 4 does not return what is published to a classic queue whose node is down, but
        refuses it, as it does for a full one. So a queue that refuses for long is looked for.
        """
        self._waiting_for = {queue: self._waiting_for.get(queue, 0) + 1 for queue in queues}
        for queue, count in self._waiting_for.items():
            if count % _SUSPECT_AFTER == 0:
                self._trial(queue)
        for queue, problem in tuple(self.problems.items()):
            if problem == _REFUSES and queue not in self._waiting_for:
                self._clear(queue)

    def _trial(self, queue: str) -> "asyncio.Task[None]":
        trial = self._trials.get(queue)
        if trial is None:
            trial = self._spawn(self._try(queue))
            self._trials[queue] = trial
            trial.add_done_callback(lambda _: self._trials.pop(queue))
        return trial

    async def _try(self, queue: str) -> None:
        pauses = Backoff(maximum=LONGEST_PAUSE)
        if queue in self.problems:
            await asyncio.sleep(pauses.next())
        while True:
            try:
                await self._ensure(queue)
            except QueueUnavailableError as error:
                self._note(queue, str(error))
                await asyncio.sleep(pauses.next())
            else:
                break
        if self._waiting_for.get(queue, 0) >= _SUSPECT_AFTER:
            self._note(queue, _REFUSES)
        else:
            self._clear(queue)

    def _note(self, queue: str, problem: str) -> None:
        if problem != self.problems.get(queue):
            _log.warning("queue_unavailable", queue=queue, error=problem)
        self.problems[queue] = problem

    def _clear(self, queue: str) -> None:
        if self.problems.pop(queue, None) is not None:
            _log.info("queue_available", queue=queue)
