"""The asyncio half of a consumer: deliveries out, settlements in, acknowledgements for many."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiormq import Channel

from broker.amqp.announcer import Announcer
from broker.amqp.connection import RPC_TIMEOUT
from broker.amqp.dead_letter_note import note_of
from broker.amqp.dead_lettering import DeadLettering
from broker.amqp.delivery import Delivery, Settlement, SettlementObserver
from broker.amqp.paced_log import PacedLog
from broker.amqp.publisher import PublishOutcome, UnroutableError
from broker.amqp.renewal import RENEWED_AT, renew
from broker.amqp.settlement import SettlementWindow
from broker.amqp.suspects import Publishers
from broker.amqp.trials import Trials
from broker.amqp.wire.errors import AmqpError, QueueUnavailableError, translated
from broker.amqp.wire.marshal import marshal_ack
from broker.amqp.wire.properties import Properties
from broker.amqp.wire.publishing import Publishing
from broker.amqp.wire.writer import FrameWriter
from broker.telemetry.tally import PublishTally


@dataclass(frozen=True, slots=True)
class Settling:
    """What settles the deliveries of all consumers of a session.

    Attributes:
        tasks: The tasks of the session; a failure of one ends it.
        announcer: Publishes the announcements; None leaves them to the usual publisher.
    """

    publishers: Publishers
    dead_lettering: DeadLettering
    tally: PublishTally
    log: PacedLog
    tasks: asyncio.TaskGroup
    observer: SettlementObserver | None = None
    announcer: Announcer | None = None


class QueueConsumer:
    """Consumes one queue on a channel of its own, and can stop and start again.

    It is the `DeliverySink` of its channel. Runs in the asyncio event loop; all methods must be
    called there. What RabbitMQ refuses, or does not answer in time, raises `AmqpError`.

    Args:
        channel: The channel, without confirms, with its prefetch set.
    """

    def __init__(
        self,
        queue: str,
        channel: Channel,
        writer: FrameWriter,
        settling: Settling,
        *,
        consumed: str,
        cancelled: Callable[[AmqpError], None],
    ) -> None:
        self.queue = queue
        self._consumed = consumed
        self._channel = channel
        self._writer = writer
        self._settling = settling
        self._publisher = settling.publishers.usual
        self._announcer = settling.announcer
        self._observer = settling.observer
        self._dead_lettering = settling.dead_lettering
        self._trials = Trials(settling.tasks)
        self._loop = asyncio.get_running_loop()
        self._window = SettlementWindow()
        self._acknowledging = False
        # With an announcement and a publishing, of which one is confirmed.
        self._half_settled: set[int] = set()
        self._drained = asyncio.Event()
        self._drained.set()
        self._consumer_tag: str | None = None
        self._arrived: list[Delivery] = []
        self._deliver: Callable[[list[Delivery]], None] | None = None
        self.has_delivered = False
        self._on_loss: Callable[[AmqpError], None] | None = None
        self._lost: AmqpError | None = None
        self._oldest_seen: int | None = None
        channel.on_consumer_cancel_callbacks.add(
            lambda _: cancelled(
                QueueUnavailableError(f"RabbitMQ cancelled the consumer of {queue!r}")
            )
        )

    @property
    def is_consuming(self) -> bool:
        """Whether RabbitMQ has registered it."""
        return self._consumer_tag is not None

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return len(self._window)

    @property
    def oldest_since(self) -> float | None:
        """When the oldest of them arrived, by the loop's clock; None without any."""
        return self._window.oldest_since

    @property
    def on_hold(self) -> int:
        """How many of them wait for long, without holding up the acknowledgements of others."""
        return self._window.on_hold

    @property
    def tried_again(self) -> Counter[str]:
        """See `Trials.waiting_for`."""
        return self._trials.waiting_for

    async def start(
        self,
        deliver: Callable[[list[Delivery]], None],
        on_loss: Callable[[AmqpError], None] | None = None,
    ) -> None:
        """Begin to consume.

        Args:
            deliver: Takes the deliveries that arrived together; must not raise.
            on_loss: Called once when the consumer is lost and the session is not.
        """
        self._deliver, self._on_loss = deliver, on_loss
        with translated(f"consuming from {self.queue!r}"):
            answer = await self._channel.basic_consume(
                self._consumed, _left_to_aiormq, timeout=RPC_TIMEOUT
            )
        self._consumer_tag = answer.consumer_tag

    async def stop(self) -> None:
        """Stop consuming. Deliveries that arrived before have been handed out on return."""
        if self._consumer_tag is not None and self._lost is None:
            with translated(f"stopping to consume from {self.queue!r}"):
                await self._channel.basic_cancel(self._consumer_tag, timeout=RPC_TIMEOUT)
            self._consumer_tag = None

    async def drained(self) -> None:
        """Wait until every delivery handed out is settled and its acknowledgement is written.

        Raises:
            AmqpError: The consumer was lost before.
        """
        await self._drained.wait()
        if self._lost is not None:
            if self._window:
                raise self._lost
            return
        await self._writer.flushed()

    def lose(self, error: AmqpError) -> None:
        """Give up all deliveries: RabbitMQ has put them back into the queue, or will.

        The queue needs another consumer then. Whatever is still settled does nothing.
        """
        if self._lost is not None:
            return
        self._lost, self._consumer_tag, self._deliver = error, None, None
        self._trials.cancel()
        if self._announcer is not None:
            self._announcer.forget(self)
        self._drained.set()
        if self._on_loss is not None:
            self._on_loss(error)

    def hold_overdue(self) -> None:
        """Put on hold what was the oldest delivery at the last call, and is still unsettled.

        To be called now and then. A message that RabbitMQ neither takes nor refuses, as the quorum
        queue it goes to has no majority, must not hold up the acknowledgements of its neighbours.
        """
        oldest = self._window.oldest
        if oldest is not None and oldest == self._oldest_seen:
            self._window.hold_overtaken()
            self._acknowledge_later()
        self._oldest_seen = oldest

    def publish(self, settlements: Sequence[Settlement]) -> None:
        """Publish what was decided about deliveries, in the order given, and acknowledge them."""
        if self._lost is not None:
            return
        self._publisher.submit(self._publishings(settlements))

    def _publishings(
        self, settlements: Sequence[Settlement]
    ) -> Iterator[tuple[Publishing, Callable[[PublishOutcome], None]]]:
        for settlement in settlements:
            if settlement.told is not None and self._announcer is not None:
                self._announcer.tell(settlement.told)
            if settlement.announcement is not None:
                announced = partial(self._tried, settlement, settlement.announcement)
                if self._announcer is None:
                    yield settlement.announcement, announced
                else:
                    self._announcer.submit(settlement.announcement, announced, self)
            if settlement.publishing is not None:
                if self._dead_lettering.concerns(settlement):
                    self._start(settlement.delivery.tag, self._publish_apart(settlement))
                else:
                    done = partial(self._tried, settlement, settlement.publishing)
                    yield settlement.publishing, done
            elif settlement.announcement is None:
                self._mark_settled(settlement)

    def delivered(
        self, tag: int, *, redelivered: bool, properties: Properties, body: bytes
    ) -> None:
        """Take a delivery, to hand it out with what arrived together with it."""
        if not self._arrived:
            self._window.begin_batch(tag, self._loop.time())
            self._drained.clear()
        self._window.add(tag)
        delivery = Delivery(
            self.queue,
            tag,
            body,
            redelivered,
            properties.headers,
            properties.correlation_id,
            properties.error,
            properties.replays,
            properties.message_id,
            properties.priority,
            properties.expiration,
            properties.delivery_count,
            properties.raw,
            properties.held,
        )
        if delivery.delivery_count >= RENEWED_AT:
            self._start(tag, self._renew(delivery))
        else:
            self._arrived.append(delivery)

    def flush(self) -> None:
        """Hand out what arrived together."""
        if self._arrived:
            self.has_delivered = True
            arrived, self._arrived = self._arrived, []
            if self._deliver is not None:
                self._deliver(arrived)

    def _tried(
        self, settlement: Settlement, publishing: Publishing, outcome: PublishOutcome
    ) -> None:
        if outcome is PublishOutcome.CONFIRMED:
            self._one_is_confirmed(settlement)
        else:
            self._start(
                settlement.delivery.tag,
                self._publish_again(settlement, publishing, outcome),
                publishing.exchange or publishing.queue,
            )

    def _start(
        self, tag: int, task: Coroutine[Any, Any, None], waiting_for: str | None = None
    ) -> None:
        if self._lost is not None:
            task.close()
            return
        if not self._trials.start(task, waiting_for):
            return  # the session has ended, and RabbitMQ delivers again
        # How long it will take, nobody knows. Its neighbours are not to wait for it.
        self._window.hold(tag)
        self._acknowledge_later()

    async def _publish_again(
        self, settlement: Settlement, publishing: Publishing, outcome: PublishOutcome
    ) -> None:
        try:
            await self._publisher.publish_again(publishing, outcome)
        except UnroutableError as error:
            settlement = await self._dead_lettering.unroutable(settlement, error)
        self._one_is_confirmed(settlement)

    async def _publish_apart(self, settlement: Settlement) -> None:
        self._one_is_confirmed(await self._dead_lettering.publish(settlement))

    def _one_is_confirmed(self, settlement: Settlement) -> None:
        if settlement.announcement is not None and settlement.publishing is not None:
            tag = settlement.delivery.tag
            if tag not in self._half_settled:
                self._half_settled.add(tag)
                return
            self._half_settled.remove(tag)
        self._mark_settled(settlement)

    def _mark_settled(self, settlement: Settlement) -> None:
        if settlement.rejected is not None:
            self._settling.tally.dead_letter(note_of(settlement, self.queue, settlement.rejected))
            self._settling.log.add("dead_lettered", queue=self.queue, reason=settlement.rejected)
        if settlement.trace is not None and self._observer is not None:
            self._observer.confirmed(settlement.trace)
        self._acknowledge_soon(settlement.delivery.tag)

    async def _renew(self, delivery: Delivery) -> None:
        raw, body = delivery.raw_properties, delivery.body
        if await renew(self._settling.publishers, delivery.source, raw, body):
            self._settling.tally.renewed += 1
            self._settling.log.add("delivery_count_reset", queue=self.queue)
            self._acknowledge_soon(delivery.tag)
        else:
            self._arrived.append(delivery)
            self.flush()

    def _acknowledge_soon(self, tag: int) -> None:
        self._window.settle(tag)
        if not self._acknowledging:
            self._acknowledge_later()

    def _acknowledge_later(self) -> None:
        if not self._acknowledging:
            # At the end of this turn of the event loop, for all that is settled in it.
            self._acknowledging = True
            self._loop.call_soon(self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledging = False
        if self._lost is not None:
            return  # its channel is closed, or about to be
        channel = self._channel.number
        acknowledgements = [
            marshal_ack(tag, channel=channel, multiple=multiple)
            for tag, multiple in self._window.take_acknowledgeable()
        ]
        if acknowledgements:
            self._writer.write(b"".join(acknowledgements))
        if not self._window:
            self._drained.set()


async def _left_to_aiormq(_message: object) -> None:
    raise AssertionError("the frame reader has left a delivery to aiormq")
