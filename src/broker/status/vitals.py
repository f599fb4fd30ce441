"""Where the state of the running broker is found."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite

import trio

from broker.amqp import AmqpLink, Rabbit
from broker.central import CentralLink
from broker.concurrency.wakeup import Gate
from broker.router.mailbox import Mailbox
from broker.router.rules import Topology
from broker.router.task import Router
from broker.status.pauses import Pauses
from broker.telemetry.tally import MessageTally, PublishTally, ServerTally


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """Who holds what is to know about the broker. Read it in Trio's thread; change nothing."""

    broker_name: str
    queues: Topology
    prefetch: int  # per consumer
    router: Router
    mailbox: Mailbox
    amqp: AmqpLink
    rabbit: Rabbit
    central: CentralLink
    consumption: Gate  # open while the registry is fresh
    messages: MessageTally
    publishings: PublishTally
    server: ServerTally
    stop_requested: trio.Event
    pauses: Pauses = field(default_factory=Pauses)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=trio.current_time)

    @property
    def is_routing(self) -> bool:
        """Whether messages are taken from all input queues."""
        return self.amqp.consumed >= frozenset(self.queues.inputs)

    @property
    def is_paused(self) -> bool:
        """Whether nothing can be routed now."""
        return not self.is_routing or self.amqp.is_blocked

    @property
    def held_messages(self) -> int | None:
        """How many messages are held, by whichever broker; None if that is not known."""
        return self.amqp.messages_in(self.queues.held)

    @property
    def earliest_deadline(self) -> float:
        """When the first held message is due that this broker knows; infinite if there is none.

        In seconds since 1970.
        """
        return self.router.holding.earliest / 1_000

    @property
    def pauses_at(self) -> datetime | None:
        """When routing will pause unless the server returns; None if it will not."""
        stale_at = self.router.stale_at
        if not isfinite(stale_at):
            return None
        return self.started_at + timedelta(seconds=stale_at - self.started)

    @property
    def registry_age(self) -> float | None:
        """Seconds since the latest status update was applied; None before the first."""
        updated_at = self.router.updated_at
        return None if updated_at is None else trio.current_time() - updated_at
