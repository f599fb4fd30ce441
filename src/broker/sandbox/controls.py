"""What people can do to a running sandbox, with a key each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import trio

from broker.sandbox.accounting import Ledger
from broker.sandbox.central_server import CentralServer
from broker.sandbox.presence import Presence
from broker.sandbox.rabbitmq import RabbitmqNode
from broker.sandbox.restarting_broker import RestartingBroker

HINT = "p pause server  k kill broker  r kill RabbitMQ  a/o agent comes/goes  q quit"
"""All keys, in one line."""


@dataclass(slots=True)
class Controls:
    """Does what a key stands for, and tells the feed.

    Attributes:
        nursery: For what takes longer than a key.
        quit: Stops the run gracefully.
        is_rabbitmq_up: Whether RabbitMQ was not killed, or is ready again.
    """

    ledger: Ledger
    server: CentralServer
    broker: RestartingBroker
    node: RabbitmqNode
    presence: Presence
    random: Random
    nursery: trio.Nursery
    quit: Callable[[], None]
    is_rabbitmq_up: bool = True

    def press(self, key: str) -> None:
        """Do what a key stands for; other keys do nothing."""
        actions = {
            "p": self.pause_or_resume,
            "k": self.kill_broker,
            "r": self.kill_rabbitmq,
            "a": self._come,
            "o": self._go,
            "q": self.quit,
        }
        actions.get(key, _nothing)()

    def pause_or_resume(self) -> None:
        """Pause the central server: it hangs up and reads no more; or let it go on."""
        if self.server.serving.is_open:
            self.server.pause()
            self.ledger.feed.tell("server paused", is_trouble=True)
        else:
            self.resume()

    def resume(self) -> None:
        """Let a paused server go on."""
        if not self.server.serving.is_open:
            self.server.resume()
            self.ledger.feed.tell("server goes on")

    def kill_broker(self) -> None:
        """Kill the broker; it is started again. Does nothing until it has been."""
        if self.broker.kill():
            self._tell_loss("broker")
            self.nursery.start_soon(self._follow_broker)

    def kill_rabbitmq(self) -> None:
        """Kill RabbitMQ and start it again. Does nothing until it is ready."""
        if self.is_rabbitmq_up:
            self.is_rabbitmq_up = False
            self._tell_loss("RabbitMQ")
            self.nursery.start_soon(self._restart_rabbitmq)

    def _come(self) -> None:
        if self.presence.offline:
            agent = self.random.choice(self.presence.offline)
            self.presence.come(agent)
            self.ledger.feed.tell(f"{agent.agent_name} comes")
        else:
            self.ledger.feed.tell("all agents are online")

    def _go(self) -> None:
        online = self.presence.online
        if len(online) > 1:
            agent = self.random.choice(online)
            self.presence.go(agent)
            self.ledger.feed.tell(f"{agent.agent_name} goes")
        else:
            self.ledger.feed.tell("the last agent stays")

    def _tell_loss(self, part: str) -> None:
        in_flight = self.ledger.missing()
        number, feed = len(in_flight), self.ledger.feed
        feed.tell(f"{part} killed, {number} messages in flight", is_trouble=True)
        survived = f"nothing lost, all {number} are accounted for"
        self.ledger.when_accounted_for(in_flight, partial(feed.tell, survived))

    async def _follow_broker(self) -> None:
        killed_at = trio.current_time()
        await self.broker.started_again()
        await self.server.has_broker()
        self._tell_return("broker", killed_at)

    async def _restart_rabbitmq(self) -> None:
        killed_at = trio.current_time()
        await self.node.kill()
        await self.node.start()
        self.is_rabbitmq_up = True
        self._tell_return("RabbitMQ", killed_at)

    def _tell_return(self, part: str, killed_at: float) -> None:
        self.ledger.feed.tell(f"{part} back after {trio.current_time() - killed_at:.1f} s")


def _nothing() -> None:
    pass
