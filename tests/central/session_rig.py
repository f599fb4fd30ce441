"""A session with the central server, and what came of it."""

import trio
from trio.testing import wait_all_tasks_blocked

from broker.central.outbox import Outbox
from broker.central.session import CentralSession
from broker.central.websocket import ServerAddress, open_websocket
from broker.concurrency.wakeup import Wakeup
from broker.router.mailbox import Mail, Mailbox
from broker.telemetry.tally import ServerTally

SILENCE = 45.0


class Rig:
    """A session, to be run, and the mail for the router that comes of it."""

    def __init__(self) -> None:
        self.status_wanted = Wakeup()
        self.outbox = Outbox()
        self.tally = ServerTally()
        self.registrations = 0
        self.session: CentralSession | None = None
        self.mailbox = Mailbox(room=1000)

    async def run(self) -> None:
        address = ServerAddress("ws://central/ws", token="t0ps3cr3t")  # noqa: S106 - a test's
        async with open_websocket(address) as websocket:
            self.session = CentralSession(
                websocket,
                outbox=self.outbox,
                status_wanted=self.status_wanted,
                broker_id="broker_0001",
                broker_name="Broker",
                silence=SILENCE,
                registered=self._take_registration,
                tally=self.tally,
            )
            await self.session.run()

    def _take_registration(self) -> None:
        self.registrations += 1

    async def mail(self) -> list[Mail]:
        """Return the mail that has come for the router."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.outbox.forward, self.mailbox)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        mails: list[Mail] = []
        while True:
            try:
                mails.append(self.mailbox.receive_nowait())
            except trio.WouldBlock:
                return mails
