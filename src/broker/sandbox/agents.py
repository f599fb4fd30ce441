"""Sample agents: each reads its own queue while it is online, and answers what it gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio

from broker.amqp import Deliveries, Delivery, Publishing, Session, Settlement
from broker.concurrency.wakeup import Gate
from broker.sandbox.accounting import Ledger
from broker.sandbox.desk import Desk
from broker.sandbox.outbox import Outbox
from broker.sandbox.server_queues import INPUT_QUEUE, FromBroker, agent_queue, read
from broker.sandbox.traffic import Traffic

_NAMES = (
    *("Alice", "Bob", "Carol", "Dave", "Erin", "Frank", "Grace", "Heidi", "Ivan", "Judy", "Ken"),
    *("Laura", "Mallory", "Niaj", "Olivia", "Peggy", "Quinn", "Rupert", "Sybil", "Trent", "Uma"),
    *("Victor", "Wendy", "Xavier", "Yves", "Zoe"),
)


def agent_names(number: int) -> Sequence[str]:
    """Return so many different names: Alice, ..., Zoe, Alice2, ..."""
    rounds = (number - 1) // len(_NAMES) + 1
    names = [*_NAMES, *(f"{name}{again}" for again in range(2, rounds + 1) for name in _NAMES)]
    return names[:number]


@dataclass(frozen=True, eq=False)
class Agent:
    """One agent. What is routed to it while it is offline waits in its queue.

    Attributes:
        outbox: Keeps its answers until RabbitMQ confirmed them.
        desk: Where it works on what it is asked; without one it answers at once.
        online: Open while it reads its queue.
    """

    agent_name: str
    ledger: Ledger
    traffic: Traffic
    outbox: Outbox
    progressed: Callable[[], None]
    desk: Desk | None = None
    online: Gate = field(default_factory=Gate)

    @property
    def agent_id(self) -> str:
        """Its name in lower case."""
        return self.agent_name.lower()

    @property
    def queue(self) -> str:
        """The queue it reads."""
        return agent_queue(self.agent_id)

    def text(self) -> Publishing | None:
        """Begin a conversation, or None when there is nothing more to say."""
        return self._publishing(self.traffic.text(self.agent_id))

    async def run(self, session: Session) -> None:
        """Read the queue whenever the agent is online, until cancelled.

        Raises:
            AmqpError: The session was lost.
        """
        while True:
            await self.online.opened()
            async with trio.open_nursery() as nursery:
                if self.desk is not None:
                    nursery.start_soon(self.desk.run)
                await nursery.start(session.consume, self.queue, self._take)
                await self.online.closed()
                nursery.cancel_scope.cancel()

    def _take(self, arrived: Deliveries) -> None:
        at_once = []
        for delivery in arrived.deliveries:
            message = read(delivery.body)
            if self.desk is not None and message.message_type == "TEXT":
                self.desk.put(partial(self._settle, arrived, [(delivery, message)]))
            else:
                at_once.append((delivery, message))
        self._settle(arrived, at_once)

    def _settle(self, arrived: Deliveries, some: Sequence[tuple[Delivery, FromBroker]]) -> None:
        replies = [self._reply(message) for _, message in some]
        self.outbox.put([reply for reply in replies if reply is not None])
        arrived.publish([Settlement(delivery) for delivery, _ in some])
        self.progressed()

    def _reply(self, message: FromBroker) -> Publishing | None:
        if message.message_id is None:
            self.ledger.record_unexpected(f"{self.agent_id} received what is no chat message")
            return None
        is_new = self.ledger.record_delivered(message.message_id, self.agent_id)
        if not is_new or message.message_type != "TEXT":
            # Answering answers, or errors, would never end.
            return None
        return self._publishing(self.traffic.reply(self.agent_id, message.message_id))

    def _publishing(self, body: bytes | None) -> Publishing | None:
        return None if body is None else Publishing(INPUT_QUEUE, body, self.agent_id)
