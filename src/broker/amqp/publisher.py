"""Publishing with confirms, on a connection of its own."""

import asyncio
import re
import secrets
from asyncio import Future
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum, auto
from functools import partial
from itertools import takewhile

from aiormq import Channel

from broker.amqp.paced_log import PacedLog
from broker.amqp.wire.marshal import marshal_publishing
from broker.amqp.wire.properties import Properties, decode_properties
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.writer import FrameWriter
from broker.net.backoff import Backoff
from broker.telemetry.tally import PublishTally

_RETRY_INITIAL = 0.5
_RETRY_MAX = 5.0
"""Seconds between two tries while RabbitMQ refuses a message. Each message has its own pauses, and
what came after it is acknowledged only after it: so the longest of a thousand pauses counts."""


class UnroutableError(Exception):
    """RabbitMQ has no queue for a message, and creating the queue did not help."""


class PublishOutcome(Enum):
    """What RabbitMQ made of a publishing."""

    CONFIRMED = auto()
    REFUSED = auto()
    """`basic.nack`, for example because the queue is full."""
    RETURNED = auto()
    """There is no such queue. RabbitMQ returns the message *and* confirms it."""


class Publisher:
    """Publishes and takes the confirms; the `ConfirmSink` of its channel.

    Attributes:
        last_progress: When a confirm came last, or the first wait began; event loop's time.

    Args:
        channel: A channel in confirm mode that nobody else publishes on.
    """

    def __init__(
        self,
        channel: Channel,
        writer: FrameWriter,
        ensure_queue: Callable[[str], Awaitable[None]],
        tally: PublishTally,
    ) -> None:
        self._channel = channel.number
        self.frame_max = channel.connection.connection_tune.frame_max
        self._writer = writer
        self._ensure_queue = ensure_queue
        self._tally = tally
        self._measured = 0
        self._measured_from = 0.0
        self._loop = asyncio.get_running_loop()
        # The message id tells which publishing RabbitMQ returned. A random prefix and the number
        # are unique, and cheap.
        self._prefix = secrets.token_hex(8) + "-"
        self._own_id = re.compile(f"{self._prefix}([0-9]{{1,20}})")
        self.last_number = 0
        self._pending: dict[int, Callable[[PublishOutcome], None]] = {}
        self._kept_ids: dict[int, str | None] = {}
        self._returned: set[int] = set()
        self._log = PacedLog("tries")
        self.last_progress = self._loop.time()

    @property
    def unconfirmed(self) -> int:
        """How many publishings wait for their confirm now."""
        return len(self._pending)

    def unconfirmed_before(self, number: int) -> int:
        """Return how many publishings before one wait for their confirm. Any thread may ask."""
        return sum(pending < number for pending in tuple(self._pending))

    def submit(
        self, publishings: Iterable[tuple[Publishing, Callable[[PublishOutcome], None]]]
    ) -> None:
        """Publish each once, all with one write. Does not wait.

        Args:
            publishings: What to publish, in this order; and what is called with what RabbitMQ made
                of it, unless the session ends before.
        """
        frames: list[bytes] = []
        try:
            for publishing, done in publishings:
                frames += self._numbered(publishing, done)
        finally:
            # What has a number is written, whatever came of the next one.
            self._writer.write(b"".join(frames))

    def outcomes(self, publishings: Sequence[Publishing]) -> Sequence[Future[PublishOutcome]]:
        """Publish each once, all with one write; return what RabbitMQ will have made of each."""
        outcomes: list[Future[PublishOutcome]] = [self._loop.create_future() for _ in publishings]
        self.submit(zip(publishings, (partial(_set, one) for one in outcomes), strict=True))
        return outcomes

    async def publish_once(self, publishing: Publishing) -> PublishOutcome:
        """Publish, and return what RabbitMQ made of it."""
        return await self.outcomes([publishing])[0]

    def _numbered(
        self, publishing: Publishing, done: Callable[[PublishOutcome], None]
    ) -> Sequence[bytes]:
        number = self.last_number + 1
        frames = marshal_publishing(
            publishing,
            f"{self._prefix}{number}",
            channel=self._channel,
            frame_max=self.frame_max,
        )
        # From here on nothing fails: RabbitMQ counts along, and a number that it never sees would
        # give each later confirm to the wrong publishing.
        if not self._pending:
            self.last_progress = self._loop.time()
        if not self._measured:
            self._measured, self._measured_from = number, self._loop.time()
        self.last_number = number
        self._pending[number] = done
        if publishing.kept is not None:
            self._kept_ids[number] = decode_properties(publishing.kept).message_id
        return frames

    async def publish_again(self, publishing: Publishing, outcome: PublishOutcome) -> None:
        """Publish until RabbitMQ has confirmed that a queue has it; not if it has by now.

        While RabbitMQ refuses it, it is tried again with growing pauses. A queue that is missing
        is created.

        Raises:
            UnroutableError: There is no such queue and it could not be created.
            AmqpError: RabbitMQ did not let the queue be created.
        """
        pauses = Backoff(initial=_RETRY_INITIAL, maximum=_RETRY_MAX)
        while outcome is not PublishOutcome.CONFIRMED:
            if outcome is PublishOutcome.RETURNED:
                self._log.add("publishing_returned", queue=publishing.queue)
                await self._ensure_queue(publishing.queue)
                outcome = await self.publish_once(publishing)
                if outcome is PublishOutcome.RETURNED:
                    raise UnroutableError(publishing.queue)
            else:
                self._log.add("publishing_refused", queue=publishing.exchange or publishing.queue)
                await asyncio.sleep(pauses.next())
                outcome = await self.publish_once(publishing)

    def returned(self, properties: Properties) -> None:
        """Take note that RabbitMQ returned a message; its confirm follows."""
        message_id = properties.message_id
        # A kept id need not be unique. To publish one time too many loses nothing.
        self._returned |= {number for number, kept in self._kept_ids.items() if kept == message_id}
        if message_id is not None and (own := self._own_id.fullmatch(message_id)):
            self._returned |= {int(own[1])} & self._pending.keys()

    def confirmed(self, tag: int, *, multiple: bool, positive: bool) -> None:
        """Take a confirm, and tell those whom it concerns, in the order of the publishings."""
        self.last_progress = self._loop.time()
        pending = self._pending
        if multiple:
            numbers = list(takewhile(tag.__ge__, pending))
        else:
            numbers = [tag] if tag in pending else []
        if numbers and numbers[0] <= self._measured <= numbers[-1]:
            self._tally.confirm_seconds.observe(self.last_progress - self._measured_from)
            self._measured = 0
        for number in numbers:
            done = pending.pop(number)
            if self._kept_ids:
                self._kept_ids.pop(number, None)
            if number in self._returned:
                self._returned.remove(number)
                done(PublishOutcome.RETURNED)
            else:
                self._tally.confirmed += positive
                done(PublishOutcome.CONFIRMED if positive else PublishOutcome.REFUSED)


def _set(future: Future[PublishOutcome], outcome: PublishOutcome) -> None:
    if not future.done():  # who waited may have been cancelled
        future.set_result(outcome)
