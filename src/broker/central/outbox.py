"""What the session has heard and the router has not taken yet."""

from collections import deque

from broker.concurrency.wakeup import Wakeup
from broker.core.messages import BrokerRegistered, ServerLost, StatusUpdate
from broker.router.mailbox import Mailbox


class Outbox:
    """Hands mail to the router without ever making the session wait.

    The session must answer the server's heartbeat also while the router applies a large update, so
    it never waits for the mailbox. What piles up meanwhile stays small: updates are merged.
    """

    def __init__(self) -> None:
        self._mail: deque[BrokerRegistered | ServerLost | StatusUpdate] = deque()
        self._changed = Wakeup()

    def put(self, mail: BrokerRegistered | ServerLost | StatusUpdate) -> None:
        """Take mail for the router. Does not wait."""
        last = self._mail[-1] if self._mail else None
        if isinstance(mail, StatusUpdate) and isinstance(last, StatusUpdate):
            self._mail[-1] = last.followed_by(mail)
        else:
            self._mail.append(mail)
        self._changed.set()

    async def forward(self, mailbox: Mailbox) -> None:
        """Forward mail until cancelled."""
        while True:
            await self._changed.wait()
            while self._mail:
                await mailbox.send(self._mail.popleft())
