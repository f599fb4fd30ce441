"""A plain AMQP client, independent of the code under test. Runs in an asyncio event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import batched

import aiormq
from aiormq.abc import AbstractChannel, ChannelFrame, DeliveredMessage
from anyio.from_thread import BlockingPortal
from pamqp.commands import Basic

from tests.faults.raw_content import content_frames

FANOUT = "test-fanout"


class RawRabbitmq:
    """A RabbitMQ node as anybody sees it; each call uses a connection of its own."""

    def __init__(self, portal: BlockingPortal, url: str) -> None:
        self._portal = portal
        self._url = url

    async def publish(
        self, queue: str, *bodies: bytes, properties: Basic.Properties | None = None
    ) -> None:
        """Publish in order, confirmed on return."""
        await self._portal.call_async(self._publish, queue, bodies, properties)

    async def publish_content(
        self, queue: str, *contents: tuple[bytes, bytes], routing_key: bytes | None = None
    ) -> None:
        """Publish pairs of hand-made properties (flags included) and body."""
        await self._portal.call_async(self._publish_content, queue, contents, routing_key)

    async def take(self, queue: str, count: int) -> list[DeliveredMessage]:
        """Take so many messages, waiting until they are there."""
        messages = await self.take_until_quiet(queue, count, 20)
        assert len(messages) == count, f"{queue} has only {len(messages)} messages"
        return messages

    async def take_until_quiet(
        self, queue: str, most: int, patience: float
    ) -> list[DeliveredMessage]:
        """Take at most so many messages, fewer when none has come for some seconds."""
        return await self._portal.call_async(self._take, queue, most, patience)

    async def declare(self, queue: str, **arguments: str | int) -> None:
        """Declare a durable queue."""
        await self._ask(
            lambda channel: channel.queue_declare(queue, durable=True, arguments=dict(arguments))
        )

    async def declare_fanout(self, exchange: str) -> None:
        """Declare a durable fanout exchange."""
        await self._ask(
            lambda channel: channel.exchange_declare(exchange, exchange_type="fanout", durable=True)
        )

    async def delete(self, queue: str) -> None:
        await self._ask(lambda channel: channel.queue_delete(queue))

    async def ready(self, queue: str) -> int:
        """Count the messages that wait in a queue, which must exist."""
        answer = await self._ask(lambda channel: channel.queue_declare(queue, passive=True))
        return answer.message_count or 0

    async def _ask[T](self, request: Callable[[AbstractChannel], Awaitable[T]]) -> T:
        async def ask() -> T:
            async with aiormq.connect(self._url) as connection:
                return await request(await connection.channel())

        return await self._portal.call_async(ask)

    async def _publish(
        self, queue: str, bodies: Sequence[bytes], properties: Basic.Properties | None
    ) -> None:
        async with aiormq.connect(self._url) as connection:
            channel = await connection.channel()
            # aiormq looks at all that await their confirm each time one comes.
            for some in batched(bodies, 500, strict=False):
                await asyncio.gather(
                    *(
                        channel.basic_publish(
                            body,
                            routing_key=queue,
                            properties=properties or Basic.Properties(delivery_mode=2),
                            mandatory=True,
                        )
                        for body in some
                    )
                )

    async def _publish_content(
        self, queue: str, contents: Sequence[tuple[bytes, bytes]], routing_key: bytes | None
    ) -> None:
        async with aiormq.connect(self._url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            exchange = b""
            if routing_key is not None:
                exchange = f"{FANOUT}-{queue}".encode()
                await channel.exchange_declare(exchange.decode(), exchange_type="fanout")
                await channel.queue_bind(queue, exchange.decode())
            key = queue.encode() if routing_key is None else routing_key
            for properties, body in contents:
                payload = content_frames(channel.number, exchange, key, properties, body)
                await connection.write_queue.put(ChannelFrame(payload, should_close=False))
            # Answered after all of that has been dealt with.
            await channel.queue_declare(queue, passive=True)

    async def _take(self, queue: str, most: int, patience: float) -> list[DeliveredMessage]:
        messages: list[DeliveredMessage] = []
        async with aiormq.connect(self._url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            # One by one, as a consumer would take along what comes before it is cancelled.
            while len(messages) < most and (message := await _get(channel, queue, patience)):
                headers = message.header.properties.headers
                if headers and headers.get("x-delivery-count") == 0:
                    # RabbitMQ 3 adds it for who asks a quorum queue, but not for who consumes it.
                    del headers["x-delivery-count"]
                messages.append(message)
        return messages


async def _get(channel: AbstractChannel, queue: str, patience: float) -> DeliveredMessage | None:
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        message = await channel.basic_get(queue, no_ack=True)
        if not isinstance(message.delivery, Basic.GetEmpty):
            return message
        if asyncio.get_running_loop().time() > deadline:
            return None
        await asyncio.sleep(0.02)
