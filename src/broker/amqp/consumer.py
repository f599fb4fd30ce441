"""The asyncio half of a consumer: deliveries out, settlements in, cumulative acknowledgements."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from broker.amqp.delivery import (
    FORWARDED_HEADERS,
    MAX_HEADER_CHARACTERS,
    Delivery,
    Publishing,
    Settlement,
)
from broker.amqp.errors import AmqpError, translated
from broker.amqp.publisher import Publisher, UnroutableError
from broker.amqp.settlement import SettlementWindow
from broker.amqp.topology import RPC_TIMEOUT


class QueueConsumer:
    """Consumes one queue on a channel of its own, and can stop and start again.

    Runs in the asyncio event loop; all methods must be called there.

    Args:
        queue: The queue to consume.
        channel: The channel, without confirms, with its prefetch set.
        poison_mark: See `broker.amqp.frames`.
        publisher: Publishes what comes of the deliveries.
        tasks: The tasks of the session; a failure of one ends it.
        cancelled: Called when RabbitMQ cancels the consumer.
    """

    def __init__(
        self,
        queue: str,
        channel: AbstractChannel,
        *,
        poison_mark: str,
        publisher: Publisher,
        tasks: asyncio.TaskGroup,
        cancelled: Callable[[AmqpError], None],
    ) -> None:
        self._queue = queue
        self._channel = channel
        self._poison_mark = poison_mark
        self._publisher = publisher
        self._tasks = tasks
        self._window = SettlementWindow()
        self._settled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._consumer_tag: str | None = None
        channel.on_consumer_cancel_callbacks.add(
            lambda _: cancelled(AmqpError(f"RabbitMQ cancelled the consumer of {queue!r}"))
        )
        tasks.create_task(self._acknowledge())

    async def start(self, deliver: Callable[[Delivery], None]) -> None:
        """Begin to consume.

        Args:
            deliver: Takes each delivery; must not raise.

        Raises:
            AmqpError: RabbitMQ refused or did not answer in time.
        """
        with translated(f"consuming from {self._queue!r}"):
            answer = await self._channel.basic_consume(
                self._queue,
                partial(self._on_message, deliver),  # type: ignore[arg-type]  # a plain function
                timeout=RPC_TIMEOUT,
            )
        self._consumer_tag = answer.consumer_tag

    async def stop(self) -> None:
        """Stop consuming. Deliveries that arrived before have been handed out on return.

        Raises:
            AmqpError: RabbitMQ did not answer in time.
        """
        if self._consumer_tag is not None:
            with translated(f"stopping to consume from {self._queue!r}"):
                await self._channel.basic_cancel(self._consumer_tag, timeout=RPC_TIMEOUT)
            self._consumer_tag = None

    async def drained(self) -> None:
        """Wait until every delivery handed out is settled and its acknowledgement is written."""
        await self._drained.wait()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Publish what came of deliveries, in the order given, and acknowledge them."""
        for settlement in settlements:
            if settlement.publishing is None:
                self._mark_settled(settlement.delivery)
            else:
                self._tasks.create_task(self._publish(settlement, settlement.publishing))

    async def _publish(self, settlement: Settlement, publishing: Publishing) -> None:
        try:
            await self._publisher.publish(publishing)
        except UnroutableError as error:
            if settlement.unroutable is None:
                raise AmqpError(f"queue {publishing.queue!r} cannot be created") from error
            await self._publish(Settlement(settlement.delivery), settlement.unroutable())
        else:
            self._mark_settled(settlement.delivery)

    def _mark_settled(self, delivery: Delivery) -> None:
        self._window.settle(delivery.tag)
        self._settled.set()

    async def _acknowledge(self) -> None:
        # One task writes all acknowledgements, so they keep their order; what is settled while
        # it writes is acknowledged together afterwards.
        while True:
            await self._settled.wait()
            self._settled.clear()
            tag = self._window.take_acknowledgeable()
            if tag is not None:
                with translated("acknowledging"):
                    await self._channel.basic_ack(tag, multiple=True)
            if not self._window:
                self._drained.set()

    def _on_message(self, deliver: Callable[[Delivery], None], message: DeliveredMessage) -> None:
        tag = cast("int", message.delivery_tag)
        self._window.add(tag)
        self._drained.clear()
        deliver(self._delivery(tag, message))

    def _delivery(self, tag: int, message: DeliveredMessage) -> Delivery:
        properties = message.header.properties
        if properties.app_id == self._poison_mark:
            return Delivery(
                self._queue,
                tag,
                message.body,
                bool(message.redelivered),
                properties_error="the AMQP properties cannot be parsed",
            )
        return Delivery(
            self._queue,
            tag,
            message.body,
            bool(message.redelivered),
            _forwarded(properties),
            properties.correlation_id,
        )


_NO_HEADERS: dict[str, str] = {}


def _forwarded(properties: Basic.Properties) -> dict[str, str]:
    headers = properties.headers
    if not headers:
        return _NO_HEADERS
    return {
        name: value
        for name in FORWARDED_HEADERS
        if isinstance(value := headers.get(name), str) and len(value) <= MAX_HEADER_CHARACTERS
    }
