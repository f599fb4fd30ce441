"""Let agents talk: who speaks when, who comes and goes, and when it is over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import trio

from broker.concurrency.wakeup import Wakeup
from broker.sandbox.accounting import Ledger
from broker.sandbox.outbox import Outbox
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
    """Lets agents talk, until `stop`.

    Attributes:
        patience: Seconds without any progress after which what is still under way is given up.
        lull: Seconds without any progress after which all offline agents return to read what waits.
        pause: Seconds between two conversations, on average, when people watch.
        change_probability: How likely somebody comes or goes with a conversation.
        disasters: What happens in an exchange, one after the other, between equal parts of it.
    """

    outbox: Outbox
    presence: Presence
    traffic: Traffic
    ledger: Ledger
    progress: Wakeup
    random: Random
    patience: float = 30.0
    lull: float = 0.5
    pause: float = 0.2
    change_probability: float = 0.08
    disasters: Sequence[Callable[[], None]] = ()
    _stopped: trio.Event = field(default_factory=trio.Event)
    _is_hopeless: bool = False
    _struck: int = 0

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
                self.presence.change(staying=2)
            self._strike(messages)
            if not await self._progressed():
                return
        self._strike(messages)
        await self._finish()

    async def converse(self) -> None:
        """Talk at a pace that people can follow until stopped, and then until all is settled."""
        while not self.traffic.is_over:
            await self._begin_conversations(1)
            if self.random.random() < self.change_probability:
                self._come_or_go()
            with trio.move_on_after(self.random.expovariate(1 / self.pause)):
                await self._stopped.wait()
        await self._finish()

    def _strike(self, messages: int) -> None:
        parts = len(self.disasters) + 1
        while self._struck + 1 < parts and self.ledger.sent * parts >= messages * (
            self._struck + 1
        ):
            self.disasters[self._struck]()
            self._struck += 1

    async def _begin_conversations(self, number: int) -> None:
        speakers = self.random.choices(self.presence.online, k=number)
        texts = [speaker.text() for speaker in speakers]
        await self.outbox.publish([text for text in texts if text is not None])

    def _come_or_go(self) -> None:
        if self.random.random() < EXODUS_PROBABILITY:
            self.presence.leave_one()
        else:
            self.presence.change(staying=1)

    async def _finish(self) -> None:
        if not self._is_hopeless:
            self.presence.come_all()
        while self.ledger.open and not self._is_hopeless:
            if not await self._progressed():
                return

    async def _progressed(self) -> bool:
        with trio.move_on_after(self.lull):
            await self.progress.wait()
            return True
        self.presence.come_all()
        with trio.move_on_after(self.patience):
            await self.progress.wait()
            return True
        return False
