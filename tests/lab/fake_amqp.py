"""RabbitMQ and the sessions with it, played by hand."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import trio

from broker.amqp import (
    AmqpError,
    Deliveries,
    Delivery,
    QueueUnavailableError,
    Session,
    SessionLostError,
    SessionParameters,
    Settlement,
)
from broker.concurrency.error_groups import first_error


class FakeSession:
    """Consumes like a real session: a consumer that is cancelled waits for its settlements."""

    def __init__(self, events: list[str], drain_timeout: float = 20.0) -> None:
        self.consuming: list[str] = []
        self.consumed: list[str] = []
        self.product = "RabbitMQ 3.10.8"
        self.is_blocked = False
        self.unavailable: Mapping[str, str] = {}
        self.tried_again: Mapping[str, int] = {}
        self.on_hold: Mapping[str, int] = {}
        self.overdue = 0
        self.unsettled = 0
        self.refused: Mapping[str, str] = {}
        self.existing: set[str] = set()
        self.looked_for: list[str] = []
        self._cancelled: dict[str, trio.Event] = {}
        self._was_lost_draining = False
        self._events = events
        self._drain_timeout = drain_timeout
        self._lost = trio.Event()
        self._news = trio.lowlevel.ParkingLot()
        self._queues: dict[str, Callable[[Deliveries], None]] = {}

    def lose(self) -> None:
        self._lost.set()

    def cancel(self, queue: str) -> None:
        self._cancelled[queue].set()

    def lose_draining(self) -> None:
        """Lose the consumers that wait for their settlements, and nothing else."""
        self._was_lost_draining = True
        self._news.unpark_all()

    def deliver(self, queue: str, body: bytes = b"{}") -> None:
        self.unsettled += 1
        self._queues[queue](Deliveries(queue, [Delivery(queue, 1, body)], self._settle))

    async def run(self) -> None:
        await self._lost.wait()
        raise AmqpError("the node is gone")

    async def consume(
        self,
        queue: str,
        take: Callable[[Deliveries], None],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        if queue in self.refused:
            raise QueueUnavailableError(self.refused[queue])
        cancelled = self._cancelled[queue] = trio.Event()
        self.consuming.append(queue)
        self.consumed.append(queue)
        self._queues[queue] = take
        task_status.started()
        try:
            await cancelled.wait()
        finally:
            with trio.move_on_after(self._drain_timeout, shield=True) as drain:
                self.consuming.remove(queue)
                self._events.append(f"{queue} not consumed any more")
                while self.unsettled and not self._lost.is_set():
                    await self._news.park()
                    if self._was_lost_draining:
                        raise QueueUnavailableError("the consumer is lost")
            if drain.cancelled_caught:
                raise AmqpError("not settled in time")
        raise QueueUnavailableError("RabbitMQ cancelled the consumer")

    async def has_queue(self, queue: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.looked_for.append(queue)
        return queue in self.existing

    def _settle(self, settlements: Sequence[Settlement]) -> None:
        self.unsettled -= len(settlements)
        self._events.append("settled")
        self._news.unpark_all()


class Node:
    """Stands in for `Rabbit`, with a RabbitMQ that opens sessions, or does not."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.parameters: list[SessionParameters] = []
        self.refuses = False
        self.down: set[str] = set()
        self.refused: dict[str, str] = {}
        self.existing: set[str] = set()
        self.opening = 0.0
        self.sessions: list[FakeSession] = []
        self.closed = 0
        self.events: list[str] = []

    async def answers(self) -> None:
        await trio.lowlevel.checkpoint()

    @property
    def session(self) -> FakeSession:
        return self.sessions[-1]

    @asynccontextmanager
    async def open_session(self, parameters: SessionParameters) -> AsyncIterator[Session]:
        self.opened.append(parameters.endpoint.host)
        self.parameters.append(parameters)
        await trio.sleep(self.opening)
        if self.refuses or parameters.endpoint.host in self.down:
            raise SessionLostError("connection refused")
        session = FakeSession(self.events, parameters.drain_timeout)
        session.refused, session.existing = self.refused, self.existing
        lost = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.run)
                self.sessions.append(session)
                try:
                    yield cast("Session", session)
                finally:
                    self.closed += 1
                    self.events.append("AMQP closed")
                    nursery.cancel_scope.cancel()
        except* AmqpError as errors:
            lost = first_error(errors)
        if lost is not None:
            raise SessionLostError(str(lost))
