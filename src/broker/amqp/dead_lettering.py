"""What happens to a delivery that RabbitMQ does not take as it was decided."""

from msgspec.structs import replace

from broker.amqp.dead_letter import dead_letter
from broker.amqp.delivery import Publishing, Settlement
from broker.amqp.errors import AmqpError
from broker.amqp.parts import in_parts
from broker.amqp.publisher import Outcome, Publisher, UnroutableError
from broker.amqp.refusals import Refusals
from broker.amqp.suspects import RefusedError, SuspectPublisher
from broker.messages import RejectReason


class DeadLettering:
    """Publishes what cannot go along with everything else. Runs in the asyncio event loop.

    Args:
        publisher: The session's.
        suspects: For messages that may cost the connection.
        refusals: Tells what RabbitMQ does not take.
    """

    def __init__(
        self, publisher: Publisher, suspects: SuspectPublisher, refusals: Refusals
    ) -> None:
        self._publisher = publisher
        self._suspects = suspects
        self._refusals = refusals

    def concerns(self, settlement: Settlement) -> bool:
        """Return whether a settlement must be published by `publish`."""
        return (self._refusals.is_unexplained and settlement.delivery.redelivered) or (
            settlement.rejected is not None
            and settlement.publishing is not None
            and not self._fits(settlement.publishing)
        )

    async def publish(self, settlement: Settlement) -> Settlement:
        """Publish until RabbitMQ has confirmed it, as a dead letter if there is no other way.

        Returns:
            The settlement as it was carried out.

        Raises:
            AmqpError: The connection was lost, or RabbitMQ refuses the dead letter, too.
        """
        publishing = settlement.publishing
        if publishing is None:
            return settlement
        if not (self._refusals.is_unexplained and settlement.delivery.redelivered):
            await self._publish_letter(publishing)
            return settlement
        try:
            await self._try(publishing)
        except RefusedError as refusal:
            if settlement.rejected is None:
                error = f"RabbitMQ refuses it: {refusal}"
                return await self.instead(settlement, RejectReason.INTERNAL_ERROR, error)
            raise AmqpError(f"RabbitMQ refuses a dead letter: {refusal}") from refusal
        except UnroutableError as error:
            return await self.unroutable(settlement, error)
        return settlement

    async def unroutable(self, settlement: Settlement, error: UnroutableError) -> Settlement:
        """Dead-letter what there is no queue for; see `instead`."""
        return await self.instead(
            settlement,
            RejectReason.UNROUTABLE,
            f"RabbitMQ found no queue {str(error)!r}, even after the broker created it",
        )

    async def instead(self, settlement: Settlement, reason: RejectReason, error: str) -> Settlement:
        """Dead-letter a delivery instead of what was decided.

        Returns:
            The settlement as it was carried out.

        Raises:
            AmqpError: There is no dead-letter queue and it could not be created, or the connection
                was lost.
        """
        if settlement.fallback is None:
            raise AmqpError(error)
        letter = dead_letter(
            settlement.delivery,
            queue=settlement.fallback.queue,
            reason=reason.value,
            error=error,
            broker_id=settlement.fallback.broker_id,
        )
        if settlement.observer is not None:
            letter = settlement.observer.dead_lettering(letter, reason.value)
        await self._publish_letter(letter)
        return replace(settlement, publishing=letter, rejected=reason.value)

    def _fits(self, letter: Publishing) -> bool:
        return len(letter.body) <= self._refusals.max_message_size

    async def _publish_letter(self, letter: Publishing) -> None:
        try:
            if self._fits(letter):
                await self._publisher.publish(letter)
            else:
                for part in in_parts(letter, self._refusals.max_message_size):
                    await self._publisher.publish(part)
        except UnroutableError as error:
            raise AmqpError(f"queue {letter.queue!r} cannot be created") from error

    async def _try(self, publishing: Publishing) -> None:
        outcome = await self._suspects.publish(publishing)
        if outcome is not Outcome.CONFIRMED:
            await self._publisher.publish_again(publishing, outcome)
