"""Read what the broker publishes, and record it in the ledger."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from broker.amqp import Deliveries, Session, Settlement
from broker.sandbox.accounting import Ledger
from broker.sandbox.server_queues import DEAD_LETTER_QUEUE, FromBroker

_ID = re.compile(rb'"(?:message_id|marker)":\s*"([\w-]{1,100})"')


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Records the output of the broker.

    Attributes:
        registered: The agents whose registration the broker confirmed.
    """

    ledger: Ledger
    progressed: Callable[[], None]
    registered: set[str] = field(default_factory=set)

    def notice(self, message: FromBroker) -> None:
        """Record a message from the output queue."""
        match message:
            case FromBroker(message_type="ERROR", original_message_id=str(message_id)):
                self.ledger.record_failed(message_id)
            case FromBroker(message_type="REGISTER_AGENT_RESPONSE", agent_id=str(agent_id)):
                self.registered.add(agent_id)
            case FromBroker(message_id=str(message_id), receiver_id=str(receiver_id)) if (
                message.is_routed
            ):
                self.ledger.record_routed(message_id, receiver_id)
            case _:
                self.ledger.record_unexpected(
                    f"the broker put out a message of type {message.message_type}"
                )
        self.progressed()

    async def read_dead_letters(
        self, session: Session, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take what comes into the dead-letter queue, until cancelled.

        Raises:
            AmqpError: The session was lost.
        """
        await session.consume(DEAD_LETTER_QUEUE, self._take, task_status=task_status)

    def _take(self, arrived: Deliveries) -> None:
        for delivery in arrived.deliveries:
            found = _ID.search(delivery.body)
            if found is None:
                self.ledger.record_unexpected("a message without an id was dead-lettered")
            else:
                self.ledger.record_dead_lettered(found[1].decode())
        arrived.publish([Settlement(delivery) for delivery in arrived.deliveries])
        self.progressed()
