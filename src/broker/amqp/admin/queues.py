"""The Trio half of looking at queues and changing them; see `broker.amqp.admin.queue_state`."""

from typing import Any

from broker.amqp.admin import queue_state
from broker.amqp.admin.mover import Moved, Mover
from broker.amqp.admin.queue_state import QueueState, QueueType
from broker.amqp.border import Border
from broker.amqp.connection import Connection


class Queues:
    """The queues of a virtual host, for whoever operates them. Made by `Session.queues`.

    Every method raises `AmqpError` when RabbitMQ refuses, does not answer in time, or the session
    is lost. Cancelling one ends the session.
    """

    def __init__(self, border: Border[Any], mover: Mover, declaring: Connection) -> None:
        self._ask = border.call
        self._mover = mover
        self._declaring = declaring

    async def look(self, queue: str) -> QueueState | None:
        """Return the state of a queue, None when there is none; see `queue_state.look`."""
        return await self._ask(queue_state.look, self._declaring, queue)

    async def create(self, queue: str, kind: QueueType) -> None:
        """Declare a durable queue of a type; see `queue_state.create`."""
        await self._ask(queue_state.create, self._declaring, queue, kind)

    async def delete(self, queue: str, kind: str) -> int | None:
        """Delete an empty queue that nobody consumes; see `queue_state.delete`."""
        return await self._ask(queue_state.delete, self._declaring, queue, kind)

    async def lock(self, name: str) -> bool:
        """Take a lock until the session ends; see `Mover.lock`."""
        return await self._ask(self._mover.lock, name)

    async def move(self, queue: str, exchange: str) -> Moved:
        """Move some messages from the head of a queue; see `Mover.move`."""
        return await self._ask(self._mover.move, queue, exchange)

    async def has_exchange(self, exchange: str) -> bool:
        """Return whether there is an exchange."""
        return await self._ask(queue_state.has_exchange, self._declaring, exchange)

    async def lead_to(self, exchange: str, queue: str) -> None:
        """Let all that is published to a fanout exchange, created when missing, go to a queue."""
        await self._ask(queue_state.lead_to, self._declaring, exchange, queue)

    async def remove_exchange(self, exchange: str) -> None:
        """Delete an exchange; nothing changes when there is none."""
        await self._ask(queue_state.remove_exchange, self._declaring, exchange)
