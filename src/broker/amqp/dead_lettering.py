"""What happens to a delivery that RabbitMQ does not take as it was decided."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

from msgspec.structs import replace

from broker.amqp.dead_letter import bare, dead_letter
from broker.amqp.delivery import Delivery, Settlement, SettlementObserver
from broker.amqp.parts import PART_HEADERS_SIZE, in_parts
from broker.amqp.publisher import PublishOutcome, UnroutableError
from broker.amqp.suspects import Publishers, PublishingRefusedError
from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.marshal import header_frame_size
from broker.amqp.wire.publishing import Publishing
from broker.core.messages import RejectReason
from broker.net.backoff import Backoff

_LONGEST_PAUSE = 5.0
"""Seconds between two tries to publish to a queue that is there and takes nothing."""


class DeadLettering:
    """Publishes what cannot go along with everything else. Runs in the asyncio event loop.

    It returns the settlement as it was carried out, or raises `AmqpError`: the connection was lost,
    or RabbitMQ refuses the dead letter, too.
    """

    def __init__(self, publishers: Publishers, observer: SettlementObserver | None = None) -> None:
        self._publisher = publishers.usual
        self._suspects = publishers.suspects
        self._refusals = publishers.refusals
        self._observer = observer

    def concerns(self, settlement: Settlement) -> bool:
        """Return whether a settlement must be published by `publish`."""
        if self._is_suspect(settlement.delivery):
            return True
        letter = settlement.publishing if settlement.rejected is not None else None
        return letter is not None and not (self._is_small(letter) and self._has_room(letter))

    async def publish(self, settlement: Settlement) -> Settlement:
        """Publish until RabbitMQ has confirmed it, as a dead letter if there is no other way."""
        delivery, publishing = settlement.delivery, settlement.publishing
        if publishing is None:
            return settlement
        if settlement.rejected is not None:
            await self._publish_letter(publishing, delivery)
            return settlement
        try:
            await self._publish(publishing, delivery)
        except PublishingRefusedError as refusal:
            error = f"RabbitMQ refuses it: {refusal}"
            return await self._instead(settlement, RejectReason.INTERNAL_ERROR, error)
        except UnroutableError as error:
            return await self.unroutable(settlement, error)
        return settlement

    async def unroutable(self, settlement: Settlement, error: UnroutableError) -> Settlement:
        """Dead-letter a delivery, as there is no queue for what was decided."""
        if settlement.fallback is None and settlement.publishing is not None:
            await self._publish_letter(settlement.publishing, settlement.delivery)
            return settlement
        text = f"RabbitMQ found no queue {str(error)!r}, even after the broker created it"
        return await self._instead(settlement, RejectReason.UNROUTABLE, text)

    async def _instead(
        self, settlement: Settlement, reason: RejectReason, error: str
    ) -> Settlement:
        if settlement.fallback is None:
            raise AmqpError(error)
        letter = dead_letter(
            settlement.delivery,
            queue=settlement.fallback.queue,
            reason=reason.value,
            error=error,
            broker_id=settlement.fallback.broker_id,
        )
        if settlement.trace is not None and self._observer is not None:
            letter = self._observer.dead_lettering(settlement.trace, letter, reason.value)
        await self._publish_letter(letter, settlement.delivery)
        return replace(settlement, publishing=letter, rejected=reason.value)

    async def _publish_letter(self, letter: Publishing, delivery: Delivery) -> None:
        try:
            try:
                for piece in self._pieces(letter, delivery):
                    await self._insist(piece, delivery)
            except PublishingRefusedError:
                # It may be for what is kept of the original's properties and headers.
                for piece in self._bare_pieces(letter, delivery):
                    await self._insist(piece, delivery)
        except PublishingRefusedError as refusal:
            raise AmqpError(f"RabbitMQ refuses a dead letter: {refusal}") from refusal

    def _pieces(self, letter: Publishing, delivery: Delivery) -> Iterator[Publishing]:
        if not self._has_room(letter):
            yield from self._bare_pieces(letter, delivery)
        elif not self._is_small(letter):
            yield from in_parts(letter, self._refusals.max_message_size)
        else:
            yield letter

    def _bare_pieces(self, letter: Publishing, delivery: Delivery) -> Iterator[Publishing]:
        return in_parts(bare(letter), self._refusals.max_message_size, delivery.raw_properties)

    def _is_small(self, letter: Publishing) -> bool:
        return len(letter.body) <= self._refusals.max_message_size

    def _has_room(self, letter: Publishing) -> bool:
        """Whether a content header holds what is kept of the original and what is added."""
        room = self._publisher.frame_max
        if not self._is_small(letter):
            room -= PART_HEADERS_SIZE
        # To marshal it costs more than what decides most cases.
        return len(letter.kept or b"") < room // 2 or header_frame_size(letter) <= room

    def _is_suspect(self, delivery: Delivery) -> bool:
        return self._refusals.is_unexplained and delivery.redelivered

    async def _insist(self, publishing: Publishing, delivery: Delivery) -> None:
        """Publish what has no second choice, however often its queue comes and goes."""
        pauses = Backoff(maximum=_LONGEST_PAUSE)
        while True:
            with suppress(UnroutableError):
                return await self._publish(publishing, delivery)
            await asyncio.sleep(pauses.next())

    async def _publish(self, publishing: Publishing, delivery: Delivery) -> None:
        """Publish until RabbitMQ has confirmed it."""
        is_suspect = self._is_suspect(delivery)
        first_try = self._suspects.publish if is_suspect else self._publisher.publish_once
        outcome = await first_try(publishing)
        if outcome is not PublishOutcome.CONFIRMED:
            await self._publisher.publish_again(publishing, outcome)
