"""A session for commands: looks into queues, empties and moves them, and publishes once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Self

from broker.amqp.admin.getter import Got, QueueGetter
from broker.amqp.admin.mover import Mover
from broker.amqp.admin.queues import Queues
from broker.amqp.border import Border
from broker.amqp.connection import Connection
from broker.amqp.declarations import create_missing
from broker.amqp.lifetime import Lifetime
from broker.amqp.publisher import PublishOutcome
from broker.amqp.rabbit import Rabbit
from broker.amqp.renewal import renew
from broker.amqp.session_connections import SessionConnections
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.session_publishing import SessionPublishing
from broker.amqp.wire.errors import translated
from broker.amqp.wire.publishing import Publishing


class _AsyncioHalf:
    """The half of a command's session that runs in the asyncio event loop."""

    def __init__(self, connections: SessionConnections, publishing: SessionPublishing) -> None:
        self._connections = connections
        self.publishing = publishing
        self._getting: Connection | None = None
        self._getters: dict[str, QueueGetter] = {}

    @classmethod
    async def open(cls, parameters: SessionParameters, lifetime: Lifetime) -> Self:
        connections = SessionConnections(parameters, lifetime)
        ensure = partial(create_missing, connections.new)
        return cls(connections, await SessionPublishing.open(connections, ensure))

    async def get(self, queue: str, count: int) -> Sequence[Got]:
        with translated(f"reading {queue!r}"):
            return await (await self._getter(queue)).get(count)

    async def renew(self, queue: str, messages: Sequence[Got]) -> Sequence[Got]:
        publishers = self.publishing.publishers
        renewed = [
            message
            for message in messages
            # RabbitMQ may have taken it when its limits were others.
            if await renew(publishers, queue, message.raw_properties, message.body, apart=True)
        ]
        await self.acknowledge(queue, renewed)
        return renewed

    async def acknowledge(self, queue: str, messages: Sequence[Got]) -> None:
        with translated(f"removing messages from {queue!r}"):
            await (await self._getter(queue)).acknowledge(messages)

    async def queue_tools(self) -> tuple[Mover, Connection]:
        """Open what moves messages, and a connection for requests that may be refused."""
        connections = self._connections
        declaring, moving = await connections.open("declare"), await connections.open("move")
        channel = await connections.open_channel(moving, publisher_confirms=True)
        return Mover(moving, channel, moving.user), declaring

    async def _getter(self, queue: str) -> QueueGetter:
        getter = self._getters.get(queue)
        if getter is None:
            if self._getting is None:
                self._getting = await self._connections.open("get")
            channel = await self._connections.open_channel(self._getting, publisher_confirms=False)
            getter = self._getters[queue] = QueueGetter(queue, channel, self._getting.writer)
            self._getting.frames.add_taker(channel.number, getter)
        return getter


@asynccontextmanager
async def open_admin_session(
    rabbit: Rabbit, parameters: SessionParameters
) -> AsyncIterator["AdminSession"]:
    """Open a session for a command, and close it at the end of the block.

    The block is cancelled when the session is lost. What was got and not acknowledged is back in
    its queue afterwards. Nothing is declared or consumed.

    Raises:
        SessionLostError: The session could not be opened, or it was lost.
    """
    async with rabbit.hosted(partial(_AsyncioHalf.open, parameters)) as border:
        yield AdminSession(border)


class AdminSession:
    """An open session for a command. Made by `open_admin_session`.

    Each call raises `AmqpError` when the session is lost; then it is not known how far it came.
    Cancelling a call ends the session, likewise.
    """

    def __init__(self, border: Border[_AsyncioHalf]) -> None:
        self._border = border

    async def publish_once(self, publishings: Sequence[Publishing]) -> Sequence[PublishOutcome]:
        """Publish, and return what RabbitMQ made of each. Nothing is tried again or created."""
        return await self._border.call(self._border.half.publishing.publish_once, publishings)

    async def publish_apart(self, publishing: Publishing) -> PublishOutcome:
        """Publish on a connection of its own a message at which RabbitMQ may close the channel.

        That leaves the session alone. Otherwise as `publish_once`.

        Raises:
            PublishingRefusedError: RabbitMQ closed the channel because of it.
        """
        return await self._border.call(
            self._border.half.publishing.publishers.suspects.publish, publishing
        )

    async def get(self, queue: str, count: int) -> Sequence[Got]:
        """Ask a queue for its oldest messages that nobody else holds, oldest first.

        What is not acknowledged is held until the session ends, and then returns to its place in
        the queue. Only one call for a queue at a time.

        Raises:
            AmqpError: There is no such queue, among other reasons.
        """
        return await self._border.call(self._border.half.get, queue, count)

    async def renew(self, queue: str, messages: Sequence[Got]) -> Sequence[Got]:
        """Publish messages that `get` returned to the end of their queue, and remove them.

        Returns:
            Those that RabbitMQ took; a queue that is full takes none.
        """
        return await self._border.call(self._border.half.renew, queue, messages)

    async def acknowledge(self, queue: str, messages: Sequence[Got]) -> None:
        """Remove messages that `get` returned; RabbitMQ has done it on return."""
        await self._border.call(self._border.half.acknowledge, queue, messages)

    async def queues(self) -> Queues:
        """Open what looks at queues, and can make, empty and remove them; once per session."""
        return Queues(self._border, *await self._border.call(self._border.half.queue_tools))
