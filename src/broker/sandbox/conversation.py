"""Let agents talk: who speaks when, who comes and goes, and when it is over."""

from dataclasses import dataclass, field
from random import Random

import trio

from broker.amqp import Publishing, Session
from broker.concurrency.wakeup import Wakeup
from broker.sandbox.accounting import Ledger
from broker.sandbox.presence import Presence
from broker.sandbox.traffic import Traffic

WINDOW = 2000
"""How many messages may be under way at once."""
CHANGES = 10
"""How often somebody comes or goes in a run of a given length."""
EXODUS_PROBABILITY = 0.15
"""How likely it is then that all go but one."""


@dataclass(slots=True)
class Conversation:
    """Lets agents talk.

    Everything here publishes: cancelling it ends the session, so it is ended by `stop`. It raises
    `AmqpError` when the session is lost.

    Attributes:
        patience: Seconds without any progress after which what is still under way is given up.
        lull: Seconds without any progress after which all offline agents return to read what waits.
        pause: Seconds between two conversations, on average, when people watch.
        change_probability: How likely somebody comes or goes with a conversation.
    """

    session: Session
    presence: Presence
    traffic: Traffic
    ledger: Ledger
    progress: Wakeup
    random: Random
    patience: float = 30.0
    lull: float = 0.5
    pause: float = 0.2
    change_probability: float = 0.08
    _stopped: trio.Event = field(default_factory=trio.Event)
    _is_hopeless: bool = False

    def stop(self) -> None:
        """Say nothing new, and end when all messages are accounted for."""
        self.traffic.end()
        self._stopped.set()
        self.progress.set()

    def give_up(self) -> None:
        """End at once: the messages under way will never arrive."""
        self._is_hopeless = True
        self.stop()

    async def exchange(self, messages: int) -> None:
        """Exchange messages as fast as possible, until the traffic is over and all is settled.

        It also ends when nothing has moved for `patience` seconds.
        """
        window = max(1, min(WINDOW, messages // 4))
        changes = 0
        while not self.traffic.is_over:
            if self.ledger.open <= window // 2:
                await self._begin_conversations(window - self.ledger.open)
            if self.ledger.sent * CHANGES > messages * (changes + 1):
                changes += 1
                await self.presence.change(staying=2)
            if not await self._progressed():
                return
        await self._finish()

    async def converse(self) -> None:
        """Talk at a pace that people can follow until stopped, and then until all is settled."""
        while not self.traffic.is_over:
            await self._begin_conversations(1)
            if self.random.random() < self.change_probability:
                await self._come_or_go()
            with trio.move_on_after(self.random.expovariate(1 / self.pause)):
                await self._stopped.wait()
        await self._finish()

    async def _begin_conversations(self, number: int) -> None:
        publishings: list[Publishing] = []
        while len(publishings) < number:
            publishing = self.random.choice(self.presence.online).text()
            if publishing is None:
                break
            publishings.append(publishing)
        await self.session.publish(publishings)

    async def _come_or_go(self) -> None:
        if self.random.random() < EXODUS_PROBABILITY:
            await self.presence.leave_one()
        else:
            await self.presence.change(staying=1)

    async def _finish(self) -> None:
        if not self._is_hopeless:
            await self.presence.come_all()
        while self.ledger.open and not self._is_hopeless:
            if not await self._progressed():
                return

    async def _progressed(self) -> bool:
        with trio.move_on_after(self.lull):
            await self.progress.wait()
            return True
        await self.presence.come_all()
        with trio.move_on_after(self.patience):
            await self.progress.wait()
            return True
        return False
