"""Read what the broker publishes, and record it in the ledger.

Messages that were sent from outside, as by `broker send`, are entered when they come out. Agents
from outside read their queues themselves, so what is routed to them counts as delivered.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import trio

from broker.amqp import Deliveries, Delivery, Session, Settlement
from broker.amqp.admin.all_properties import decode_all_properties
from broker.core.messages import UNKNOWN_SENDER
from broker.sandbox.accounting import Ledger
from broker.sandbox.server_queues import DEAD_LETTER_QUEUE, FromBroker
from broker.sandbox.traffic import is_own_id

_ID = re.compile(rb'"(?:message_id|marker)":\s*"([\w-]{1,100})"')


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Records the output of the broker.

    Attributes:
        agent_ids: The sandbox's own agents.
        registered: The agents whose registration the broker confirmed.
    """

    ledger: Ledger
    agent_ids: Collection[str]
    progressed: Callable[[], None]
    registered: set[str] = field(default_factory=set)

    def notice(self, message: FromBroker) -> None:
        """Record a message from the output queue."""
        match message:
            case FromBroker(message_type="ERROR", original_message_id=str(message_id)):
                self._admit(message_id, message, text="")
                self.ledger.record_failed(message_id, message.reason or "")
            case FromBroker(message_type="REGISTER_AGENT_RESPONSE", agent_id=str(agent_id)):
                self.registered.add(agent_id)
            case FromBroker(message_id=str(message_id), receiver_id=str(receiver_id)) if (
                message.is_routed
            ):
                self._admit(message_id, message, text=message.text)
                self.ledger.record_routed(message_id, receiver_id)
                if receiver_id not in self.agent_ids:
                    self.ledger.record_delivered(message_id, receiver_id)
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
            self._record_dead_letter(delivery)
        arrived.publish([Settlement(delivery) for delivery in arrived.deliveries])
        self.progressed()

    def _record_dead_letter(self, delivery: Delivery) -> None:
        found = _ID.search(delivery.body)
        # Without an id it is no message of the sandbox, or one that will be missing.
        message_id = found[1].decode() if found else f"dead-letter-{self.ledger.dead_lettered}"
        is_guest = not is_own_id(message_id)
        if is_guest:
            self.ledger.record_guest(message_id, UNKNOWN_SENDER, "TEXT", "")
        reason = decode_all_properties(delivery.raw_properties).headers.get("x-broker-reason")
        self.ledger.record_dead_lettered(message_id, str(reason or ""), is_guest=is_guest)

    def _admit(self, message_id: str, message: FromBroker, *, text: str) -> None:
        if not is_own_id(message_id):
            message_type = str(message.message_type)
            self.ledger.record_guest(message_id, message.sender, message_type, text)
