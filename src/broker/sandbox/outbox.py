"""What the sandbox publishes: kept until RabbitMQ confirmed it, from session to session."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from broker.amqp import Publishing, Session
from broker.concurrency.wakeup import Wakeup


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    publishings: Sequence[Publishing]
    confirmed: trio.Event = field(default_factory=trio.Event)


class Outbox:
    """Publishes in the order of the calls, and again what a lost session left unconfirmed."""

    def __init__(self) -> None:
        self._waiting: deque[_Batch] = deque()
        self._filled = Wakeup()

    def put(self, publishings: Sequence[Publishing]) -> None:
        """Have something published. Does not wait."""
        if publishings:
            self._put(_Batch(publishings))

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        """Publish, and return once RabbitMQ confirmed all of them; cancelled, they still go out."""
        batch = _Batch(publishings)
        self._put(batch)
        await batch.confirmed.wait()

    async def flush(self) -> None:
        """Return once RabbitMQ confirmed everything that was put in before."""
        await self.publish([])

    async def run(self, session: Session) -> None:
        """Publish through a session until cancelled. One session at a time.

        Cancelling it while RabbitMQ confirms something ends the session; see `flush`.

        Raises:
            AmqpError: The session was lost. The next one gets what is unconfirmed.
        """
        while True:
            while not self._waiting:
                await self._filled.wait()
            batches = list(self._waiting)
            await session.publish([one for batch in batches for one in batch.publishings])
            for batch in batches:
                self._waiting.popleft()
                batch.confirmed.set()

    def _put(self, batch: _Batch) -> None:
        self._waiting.append(batch)
        self._filled.set()
