"""A session with the central server, and what came of it."""

import math

import trio
from trio.testing import wait_all_tasks_blocked

from broker.central.address import ServerAddress
from broker.central.session import CentralSession, SessionTerms
from broker.concurrency.wakeup import Wakeup
from broker.core.messages import ServerNews
from broker.telemetry.tally import ServerTally
from tests.lab.websocket_peers import Peer

TERMS = SessionTerms("Broker", silence=45.0)


class Rig(Peer):
    """A session, to be run, and the news for the router that come of it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.terms = TERMS
        self.status_wanted = Wakeup()
        self.tally = ServerTally()
        self.accepted = trio.Event()
        self.session: CentralSession | None = None
        self.make_room(math.inf)

    def make_room(self, room: float) -> None:
        """Let so many news wait for the router."""
        self._send_news, self.news = trio.open_memory_channel[ServerNews](room)

    async def run(self) -> None:
        async with (
            self.open_websocket(ServerAddress("ws://central/ws")) as websocket,
            trio.open_nursery() as nursery,
        ):
            self.session = CentralSession(
                websocket,
                self.terms,
                broker_id="broker_0001",
                send_news=self._send_news,
                status_wanted=self.status_wanted,
                tally=self.tally,
            )
            await nursery.start(self.session.run)
            self.accepted.set()

    async def heard(self) -> list[ServerNews]:
        """Return the news that have come for the router."""
        await wait_all_tasks_blocked()
        news: list[ServerNews] = []
        while self.news.statistics().current_buffer_used:
            news.append(self.news.receive_nowait())
        return news
