"""The AMQP supervisor: session after session with RabbitMQ, and the consumers within."""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import cycle

import structlog
import trio
from anyio.from_thread import BlockingPortal

from broker.amqp import Session, SessionLostError, SessionParameters, open_session
from broker.backoff import Backoff
from broker.observe.connectivity import Connectivity
from broker.router import Mail
from broker.wakeup import Gate

_log = structlog.get_logger(__name__)


class AmqpSupervisor:
    """Keeps a session with RabbitMQ and consumes while it lives.

    Any trouble with a session ends it, and a new one is built from nothing.

    Attributes:
        connectivity: What is known of the connection.

    Args:
        portal: The asyncio event loop that hosts the AMQP side.
        sessions: How to open a session, one entry for each RabbitMQ node, tried in turn.
        gated_queue: The queue that is consumed only while the gate is open.
        other_queues: Queues that are always consumed.
        consumption: The gate.
        backoff: The pauses between sessions.
    """

    def __init__(
        self,
        portal: BlockingPortal,
        *,
        sessions: Sequence[SessionParameters],
        gated_queue: str,
        other_queues: Sequence[str],
        consumption: Gate,
        backoff: Backoff,
    ) -> None:
        self._portal = portal
        self._sessions = cycle(sessions)
        self._gated_queue = gated_queue
        self._other_queues = other_queues
        self._consumption = consumption
        self._backoff = backoff
        self._draining = trio.Event()
        self._drained = trio.Event()
        self._holds_deliveries = False
        self._session: Session | None = None
        self.connectivity = Connectivity(str(sessions[0].endpoint))

    @property
    def consumed(self) -> AbstractSet[str]:
        """The queues that have a consumer now."""
        return frozenset() if self._session is None else self._session.consumed

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ takes no messages because of an alarm."""
        return self._session is not None and self._session.is_blocked

    @property
    def in_flight(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return 0 if self._session is None else self._session.in_flight

    async def run(self, mailbox: trio.MemorySendChannel[Mail]) -> None:
        """Keep a session until cancelled; on cancellation it is closed within three seconds.

        Args:
            mailbox: Where deliveries go.
        """
        with mailbox:
            while not self._draining.is_set():
                error, lifetime = await self._live(mailbox)
                self.connectivity.lost(str(error))
                pause = self._backoff.after(lifetime)
                _log.warning("amqp_lost", error=str(error), retry_in_seconds=round(pause, 1))
                with trio.move_on_after(pause):
                    await self._draining.wait()
            self._drained.set()
            await trio.sleep_forever()

    async def drain(self) -> bool:
        """Stop consuming, and wait until all that was taken is settled and acknowledged.

        A session that lives stays open until `run` is cancelled; no new one is opened.

        Returns:
            Whether nothing was left unsettled.
        """
        self._draining.set()
        if self._holds_deliveries:
            await self._drained.wait()
        return not self._holds_deliveries

    async def _live(self, mailbox: trio.MemorySendChannel[Mail]) -> tuple[SessionLostError, float]:
        """Return why the session ended and how many seconds it was open."""
        parameters = next(self._sessions)
        opened_at = math.inf
        self.connectivity.connecting(str(parameters.endpoint))
        _log.debug("amqp_connecting", endpoint=str(parameters.endpoint))
        try:
            async with open_session(self._portal, parameters) as session:
                opened_at = trio.current_time()
                self._session = session
                self.connectivity.connected()
                _log.info("amqp_connected", endpoint=str(parameters.endpoint))
                if not self._draining.is_set():
                    self._holds_deliveries = True
                    await self._consume(session, mailbox)
                    self._holds_deliveries = False
                self._drained.set()
                await trio.sleep_forever()
        except SessionLostError as error:
            # Unless the loss spoils a graceful stop: what was held is back in its queue.
            self._holds_deliveries = self._holds_deliveries and self._draining.is_set()
            return error, max(0.0, trio.current_time() - opened_at)
        finally:
            self._session = None
        raise AssertionError("a session neither lasted nor was lost")

    async def _consume(self, session: Session, mailbox: trio.MemorySendChannel[Mail]) -> None:
        async with trio.open_nursery() as consumers:
            for queue in self._other_queues:
                consumers.start_soon(session.consume, queue, mailbox.send)
            consumers.start_soon(self._consume_gated, session, mailbox)
            await self._draining.wait()
            # Each consumer hands over what it has, and ends when all of that is acknowledged.
            consumers.cancel_scope.cancel()

    async def _consume_gated(self, session: Session, mailbox: trio.MemorySendChannel[Mail]) -> None:
        while True:
            await self._consumption.opened()
            async with trio.open_nursery() as consumer:
                await consumer.start(session.consume, self._gated_queue, mailbox.send)
                _log.info("routing_started", queue=self._gated_queue)
                await self._consumption.closed()
                consumer.cancel_scope.cancel()
            _log.warning("routing_paused", queue=self._gated_queue)
