"""Publishing with confirms, on a connection of its own."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count

import stamina
import structlog
from aiormq import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from broker.amqp.delivery import Publishing
from broker.amqp.errors import translated

_PERSISTENT = 2
_RETRY_INITIAL = 0.5
_RETRY_MAX = 30.0
"""Seconds between two tries while RabbitMQ refuses a message."""

_log = structlog.get_logger(__name__)


class UnroutableError(Exception):
    """RabbitMQ has no queue for a message, and creating the queue did not help."""


class Publisher:
    """Publishes and waits for the confirms.

    Attributes:
        unconfirmed: How many publishings wait for their confirm now.
        last_progress: When a confirm came last, or the first wait began; event loop's time.

    Args:
        channel: A channel in confirm mode.
        ensure_queue: Creates a queue that went missing.
    """

    def __init__(self, channel: Channel, ensure_queue: Callable[[str], Awaitable[None]]) -> None:
        self._channel = channel
        self._ensure_queue = ensure_queue
        self._loop = asyncio.get_running_loop()
        # aiormq finds the publishing that RabbitMQ returned by its message id, so two in flight
        # must never share one. A random prefix and a number are unique, and cheap.
        self._prefix = secrets.token_hex(8)
        self._numbers = count(1)
        self.unconfirmed = 0
        self.last_progress = self._loop.time()

    async def publish(self, publishing: Publishing) -> None:
        """Publish, and return when RabbitMQ confirmed that a queue has the message.

        While RabbitMQ refuses it, it is tried again with growing pauses. Calls that begin in some
        order reach RabbitMQ in that order, but for those that are tried again.

        Raises:
            UnroutableError: There is no such queue and it could not be created.
            AmqpError: The connection was lost. Whether RabbitMQ has the message is not known.
        """
        try:
            await self._publish_once(publishing)
        except PublishError:
            _log.warning("publishing_returned", queue=publishing.queue)
            await self._ensure_queue(publishing.queue)
            await self._publish_until_taken(publishing)
        except DeliveryError as refusal:
            _log.warning("publishing_refused", queue=publishing.queue)
            await self._publish_until_taken(publishing, refusal)

    async def _publish_until_taken(
        self, publishing: Publishing, refusal: DeliveryError | None = None
    ) -> None:
        async for attempt in stamina.retry_context(
            on=_is_refusal,
            attempts=None,
            timeout=None,
            wait_initial=_RETRY_INITIAL,
            wait_max=_RETRY_MAX,
            wait_jitter=_RETRY_INITIAL,
        ):
            with attempt:
                if refusal is not None and attempt.num == 1:
                    # Counts as the first try, so that the pauses begin with the first one.
                    raise refusal
                try:
                    await self._publish_once(publishing)
                except PublishError as error:
                    raise UnroutableError(publishing.queue) from error

    async def _publish_once(self, publishing: Publishing) -> None:
        properties = Basic.Properties(
            content_type="application/json",
            delivery_mode=_PERSISTENT,
            correlation_id=publishing.correlation_id,
            message_id=f"{self._prefix}-{next(self._numbers)}",
            timestamp=datetime.now(UTC),
            app_id=publishing.app_id,
            headers=dict(publishing.headers) or None,
        )
        if not self.unconfirmed:
            self.last_progress = self._loop.time()
        self.unconfirmed += 1
        try:
            with translated("publishing", passing=DeliveryError):
                await self._channel.basic_publish(
                    publishing.body,
                    routing_key=publishing.queue,
                    properties=properties,
                    mandatory=True,
                    wait=False,
                )
        finally:
            self.unconfirmed -= 1
            self.last_progress = self._loop.time()


def _is_refusal(error: Exception) -> bool:
    # basic.nack, for example because the queue is full. A return is a `PublishError`.
    return isinstance(error, DeliveryError) and not isinstance(error, PublishError)
