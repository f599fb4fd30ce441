"""The router: owns the registry and decides each delivery.

It runs three loops in one thread: chat messages, other deliveries, news of the server. A decision
does not await anything, so it sees a consistent registry. A large status update is applied in
slices: chat messages are decided between slices, everything else waits until it is applied.
"""

import math
import secrets
from collections.abc import Awaitable, Callable
from itertools import batched
from time import perf_counter, time
from typing import Protocol

import structlog
import trio
from msgspec.structs import replace

from broker.amqp import Deliveries, Refusals
from broker.concurrency.cooperation import let_others_run
from broker.concurrency.wakeup import Gate
from broker.core.freshness import RegistryFreshness
from broker.core.last_messages import LastMessages
from broker.core.messages import (
    BrokerRegistered,
    ServerAvailable,
    ServerLost,
    ServerNews,
    StatusUpdate,
)
from broker.core.registry import AgentRegistry, RegistryFullError
from broker.router.choosing import AT_RANDOM, Choosing, RoutingOptions
from broker.router.dispatcher import Dispatcher, Trace
from broker.router.explain import Basis, explain
from broker.router.explanation import Explanation
from broker.router.holding import Holding
from broker.router.mailbox import Mailbox
from broker.router.rules import Limits, Topology
from broker.router.unknown_senders import UnknownSenders
from broker.telemetry.tally import MessageTally

_AT_ONCE = 1_000
"""Updates that concern no more agents are applied in one go, in about a millisecond, unless
somebody watches who comes and goes."""

_HELD_AT_ONCE = 50

_NAMED_UNCLEAR = 5
"""Agents with an unclear status that are named in the log; there may be many."""

_log = structlog.get_logger(__name__)


class Central(Protocol):
    """What the router asks of the link to the central server."""

    def want_status(self) -> None:
        """Ask for a status update: a message has come from an agent that the registry lacks."""

    def status_answered(self) -> None:
        """Ask no more: a status update has come that tells what was wanted."""

    def server_available(self, advertisement: ServerAvailable) -> None:
        """Note where a server has advertised itself."""


class Router:
    """Owns the registry. Made inside of `trio.run`: the registry ages from then on.

    Attributes:
        registry: The registry, for others in this thread to read.
        choosing: What chooses receivers, likewise.
        holding: What is known of the messages that nobody can receive yet, likewise.
        last_messages: When agents sent their last message, likewise.
        limits: What the router does not go beyond.
        updated_at: When the latest status update was applied, in Trio's time; None before.

    Args:
        registry_ttl: Seconds without the server after which the registry is stale; 0 is never.
        consumption: Opened while messages may be taken from the input queues.
    """

    def __init__(
        self,
        *,
        topology: Topology,
        broker_id: str,
        limits: Limits,
        refusals: Refusals,
        tally: MessageTally,
        registry_ttl: float,
        consumption: Gate,
        central: Central,
        routing: RoutingOptions = AT_RANDOM,
        holding: Holding | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._consumption = consumption
        # Held while a status update is applied, so that it cannot undo a later registration.
        self._registry_lock = trio.Lock()
        self._tally = tally
        self.limits = limits
        self.choosing = Choosing(routing, tally, trio.current_time)
        self.holding = holding or Holding(0)
        self.registry = AgentRegistry(
            limits.max_agents,
            origin=secrets.token_hex(8),
            watchers=(*self.choosing.watchers, *([self.holding] if self.holding.seconds else [])),
        )
        self.last_messages = LastMessages(
            lambda: self.registry.known_count, self.registry.__contains__
        )
        self.updated_at: float | None = None
        self._logged: dict[str, int] | None = None  # of the latest full update in this session
        self._freshness = RegistryFreshness(registry_ttl, trio.current_time())
        self._unknown_senders = UnknownSenders(
            is_known=self.registry.__contains__,
            status_wanted=central.want_status,
            status_answered=central.status_answered,
        )
        self._dispatcher = Dispatcher(
            topology=topology,
            registry=self.registry,
            tally=tally,
            broker_id=broker_id,
            limits=limits,
            refusals=refusals,
            agent_registered=self._freshness.agent_registered,
            unknown_sender=self._unknown_senders.noticed,
            server_available=central.server_available,
            routing=self.choosing.routing,
            answers=self.choosing.answers,
            holding=self.holding,
            last_messages=self.last_messages,
            trace=trace,
        )
        self._basis = Basis(
            topology=topology,
            registry=self.registry,
            hops=self._dispatcher.hops,
            limits=limits,
            refusals=refusals,
            choosing=self.choosing,
            holding=self.holding,
        )

    @property
    def broker_id(self) -> str:
        """What the broker calls itself now."""
        return self._dispatcher.decider.dead_letters.broker_id

    @property
    def stale_at(self) -> float:
        """When routing will pause unless the server returns, in Trio's time; infinite if not."""
        return self._freshness.expires_at() if self._consumption.is_open else math.inf

    def explain(self, body: bytes) -> Explanation:
        """Return what would become of a message from an input queue now. Changes nothing."""
        explanation = explain(body, self._basis)
        return replace(explanation, paused=not self._consumption.is_open)

    async def run(
        self, mailbox: Mailbox, hold: Callable[[], Awaitable[None]] = trio.sleep_forever
    ) -> None:
        """Receive and process everything, until cancelled.

        Args:
            hold: Looks at held messages again, until cancelled.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._route, mailbox.chat)
            nursery.start_soon(self._look_at_held, mailbox.held)
            nursery.start_soon(hold)
            nursery.start_soon(self._register, mailbox.registrations)
            nursery.start_soon(self._follow_server, mailbox.news)

    async def _route(self, chat: trio.MemoryReceiveChannel[Deliveries | trio.Event]) -> None:
        async for mail in chat:
            if isinstance(mail, Deliveries):
                self._publish(mail)
            else:
                mail.set()

    async def _look_at_held(self, held: trio.MemoryReceiveChannel[Deliveries]) -> None:
        async for arrived in held:
            for deliveries in batched(arrived.deliveries, _HELD_AT_ONCE, strict=False):
                began = trio.current_time()
                for delivery in deliveries:
                    self.holding.seen(delivery.held)
                self._publish(Deliveries(arrived.source, deliveries, arrived.publish))
                # As much time for new messages.
                await trio.sleep(trio.current_time() - began)

    async def _register(self, registrations: trio.MemoryReceiveChannel[Deliveries]) -> None:
        async for deliveries in registrations:
            async with self._registry_lock:
                self._publish(deliveries)
            self._update_consumption()

    async def _follow_server(self, server_news: trio.MemoryReceiveChannel[ServerNews]) -> None:
        while True:
            news: ServerNews | None = None
            with trio.move_on_at(self._freshness.expires_at()):
                news = await server_news.receive()
            match news:
                case StatusUpdate():
                    async with self._registry_lock:
                        await self._apply(news)
                case BrokerRegistered():
                    self._dispatcher.decider.use_broker_id(news.broker_id)
                    self._freshness.server_connected()
                case ServerLost():
                    self._freshness.server_lost(trio.current_time())
                    self._logged = None
            self._update_consumption()

    def _update_consumption(self) -> None:
        is_fresh = self._freshness.is_fresh(trio.current_time())
        if is_fresh and not self._consumption.is_open:
            self._consumption.open()
        elif not is_fresh and self._consumption.is_open:
            self._consumption.close()
            _log.warning("registry_stale")

    async def _apply(self, update: StatusUpdate) -> None:
        try:
            applying = self.registry.applying(update)
        except RegistryFullError:
            # Half an update would be wrong about the other half, so nothing of it is applied.
            _log.error(
                "status_update_refused", named=len(update.agents), allowed=self.registry.max_agents
            )
            return
        is_small = len(update.agents) + self.registry.online_count <= _AT_ONCE
        if is_small and not self.choosing.watchers:
            no_room = sum(applying)
        else:
            no_room = 0
            for turned_away in applying:
                no_room += turned_away
                # Neither chat messages nor the answer to the server's heartbeat may wait. A message
                # sees each agent as it was before the update or as it is after.
                await let_others_run()
        self._freshness.status_updated()
        self._unknown_senders.status_updated(is_full=update.is_full)
        self.updated_at = trio.current_time()
        self._tally.statuses_skipped += update.skipped
        self._log_update(update)
        if update.skipped:
            unclear = {"unclear": sorted(update.unclear)[:_NAMED_UNCLEAR]} if update.unclear else {}
            _log.warning("agent_status_skipped", entries=update.skipped, **unclear)
        if no_room:
            _log.warning("registry_full", entries=no_room, allowed=self.registry.max_agents)

    def _log_update(self, update: StatusUpdate) -> None:
        counts = {
            "named": len(update.agents),
            "online": self.registry.online_count,
            "known": self.registry.known_count,
        }
        # Agents come and go by the thousand; operators want to see the full updates. Servers send
        # one when a broker registers, and another one when it asks.
        is_news = update.is_full and counts != self._logged
        log = _log.info if is_news else _log.debug
        log("registry_updated", full=update.is_full, **counts)
        if update.is_full:
            self._logged = counts

    def _publish(self, arrived: Deliveries) -> None:
        started = perf_counter()
        self.last_messages.begin_batch(time())
        settlements = [self._dispatcher.dispatch(delivery) for delivery in arrived.deliveries]
        arrived.publish(settlements)
        count = len(settlements)
        self._tally.routing_seconds.observe((perf_counter() - started) / count, count)
