"""A plain AMQP client for tests, which see RabbitMQ as anybody else does."""

import time
from collections.abc import Callable, Iterator
from itertools import batched, islice

import trio
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.lab.amqp_connection import AmqpConnection, Message, QueueState, RefusedError, connect
from tests.lab.raw_content import Content

_TIMEOUT = 10.0
_LONG_TIMEOUT = 60.0
_UNCONFIRMED = 500
_POLL_INTERVAL = 0.02
_PRECONDITION_FAILED = 406


class AmqpClient:
    """Asks a RabbitMQ node, or any node of a cluster. Each call uses a connection of its own.

    No call is cancelled half-way: each ends by its own deadline.

    Raises:
        ConnectionError: Of any method: RabbitMQ refused, or did not answer in time.
    """

    def __init__(self, *urls: str) -> None:
        self._urls = urls

    async def declare(self, *queues: str, **arguments: str | int) -> None:
        """Declare durable queues; `x_max_length=1` means `x-max-length`, and so on."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        await self._call(lambda connection: connection.declare(*queues, arguments=named))

    async def declare_fanout(self, exchange: str) -> None:
        await self._call(lambda connection: connection.declare_fanout(exchange))

    async def delete(self, *queues: str) -> None:
        await self._call(lambda connection: connection.delete(*queues))

    async def delete_if_empty(self, queue: str) -> bool:
        """Return whether the queue was empty, and so is deleted."""
        try:
            await self._call(lambda connection: connection.delete(queue, if_empty=True))
        except RefusedError as error:
            if error.code != _PRECONDITION_FAILED:
                raise
            return False
        return True

    async def publish(
        self, queue: str, *bodies: bytes, properties: Basic.Properties | None = None
    ) -> None:
        given = Basic.Properties(delivery_mode=2) if properties is None else properties
        # Without class, weight and the size of the body.
        raw = ContentHeader(properties=given).marshal()[12:]
        await self.publish_content(queue, *(Content(body, raw) for body in bodies))

    async def publish_content(self, queue: str, *contents: Content) -> None:
        """Publish messages made by hand, in order, confirmed on return."""

        def publish(connection: AmqpConnection) -> None:
            exchange = f"{queue}_fanout"
            if any(content.routing_key is not None for content in contents):
                connection.declare_fanout(exchange, auto_delete=True)
                connection.bind(queue, exchange)
            connection.select_confirms()
            for some in batched(contents, _UNCONFIRMED, strict=False):
                connection.publish(queue, some, exchange)
                for _ in connection.confirmed():
                    pass

        await self._call(publish, _LONG_TIMEOUT)

    async def look(self, queue: str) -> QueueState:
        return await self._call(lambda connection: connection.look(queue))

    async def ready(self, *queues: str) -> int:
        """Count the messages that wait in queues, which must exist."""
        return await self._call(lambda connection: sum(map(connection.ready, queues)))

    async def take(self, queue: str, count: int) -> list[Message]:
        messages = await self.take_until_quiet(queue, count, 20)
        assert len(messages) == count, f"{queue} has only {len(messages)} messages"
        return messages

    async def take_until_quiet(self, queue: str, most: int, patience: float) -> list[Message]:
        """Take at most so many messages, fewer when none has come for some seconds."""

        def take(connection: AmqpConnection) -> list[Message]:
            # One by one, as a consumer would take along what comes before it is cancelled.
            return list(islice(_got(connection, queue, patience), most))

        return await self._call(take, _LONG_TIMEOUT)

    async def take_all(self, queue: str) -> list[Message]:
        """Take everything out of a queue that nobody writes to any more."""
        return await self._call(lambda connection: connection.take_all(queue), _LONG_TIMEOUT)

    async def _call[T](self, use: Callable[[AmqpConnection], T], within: float = _TIMEOUT) -> T:
        def call() -> T:
            try:
                with connect(*self._urls, timeout=_TIMEOUT) as connection:
                    connection.set_timeout(within)
                    return use(connection)
            except ConnectionError:
                raise
            except OSError as error:
                raise ConnectionError(f"RabbitMQ did not answer: {error!r}") from error

        return await trio.to_thread.run_sync(call)


def _got(connection: AmqpConnection, queue: str, patience: float) -> Iterator[Message]:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        message = connection.get(queue)
        if message is None:
            time.sleep(_POLL_INTERVAL)
            continue
        headers = message.header.properties.headers
        if headers and headers.get("x-delivery-count") == 0:
            # RabbitMQ 3 adds it for who asks a quorum queue, but not for who consumes it.
            del headers["x-delivery-count"]
        yield message
        deadline = time.monotonic() + patience
