"""Publishing what may be the message for which RabbitMQ closed a channel: one by one, apart."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from aiormq import Channel

from broker.amqp.connection import Connection
from broker.amqp.delivery import Publishing
from broker.amqp.errors import AmqpError, describe, translated
from broker.amqp.publisher import Outcome, Publisher
from broker.amqp.refusals import Refusals
from broker.amqp.topology import RPC_TIMEOUT


class PublishingRefusedError(Exception):
    """RabbitMQ closed the channel because of a message; the text is what it said."""


class SuspectPublisher:
    """Publishes suspects on a connection of its own, each after the confirm of the one before.

    When RabbitMQ closes that connection, it is known which message was to blame, and the session
    lives on. Runs in the asyncio event loop.

    Args:
        connect: Opens a connection whose loss ends nothing.
        new_publisher: Makes a publisher for a channel of it, which ends the session when it waits
            for a confirm in vain.
        refusals: Learns from what RabbitMQ says.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        new_publisher: Callable[[Connection, Channel], Publisher],
        refusals: Refusals,
    ) -> None:
        self._connect = connect
        self._new_publisher = new_publisher
        self._refusals = refusals
        self._turn = asyncio.Lock()
        self._open: tuple[Publisher, Connection, Channel] | None = None

    async def publish(self, publishing: Publishing) -> Outcome:
        """Publish once, and return what RabbitMQ made of it.

        Raises:
            PublishingRefusedError: RabbitMQ closed the channel because of it.
            AmqpError: The connection was lost for another reason, or could not be opened.
        """
        async with self._turn:
            publisher, connection, channel = self._open = self._open or await self._opened()
            outcome = asyncio.ensure_future(publisher.publish_once(publishing))
            try:
                await asyncio.wait(
                    [outcome, channel.closing, connection.aiormq.closing],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if outcome.done():
                    return outcome.result()
            finally:
                outcome.cancel()
            self._open = None
            reason = (
                _reason(channel.closing)
                or _reason(connection.aiormq.closing)
                or ConnectionError("the connection was lost")
            )
            await connection.close()
            if self._refusals.learn(reason):
                raise PublishingRefusedError(describe(reason))
            raise AmqpError(f"publishing suspects: {describe(reason)}")

    async def _opened(self) -> tuple[Publisher, Connection, Channel]:
        connection = await self._connect()
        with translated("opening a channel for suspects"):
            channel = cast(
                "Channel",
                await connection.aiormq.channel(publisher_confirms=True, timeout=RPC_TIMEOUT),
            )
        return self._new_publisher(connection, channel), connection, channel


def _reason(closing: "asyncio.Future[None]") -> BaseException | None:
    return closing.exception() if closing.done() and not closing.cancelled() else None
