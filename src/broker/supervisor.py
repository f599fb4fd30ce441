"""The AMQP supervisor: session after session with RabbitMQ, and the consumers within."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from random import shuffle

import msgspec
import structlog
import trio
from anyio.from_thread import BlockingPortal

from broker.amqp import AmqpEndpoint, Session, SessionLostError, SessionParameters, open_session
from broker.backoff import Backoff
from broker.mailbox import Mailbox
from broker.observe.connectivity import Connectivity
from broker.unusable_file import UnusableFileError
from broker.wakeup import Gate

_READ_TIMEOUT = 10.0
"""Seconds that reading a file may take: it may lie in a network."""

_log = structlog.get_logger(__name__)


class AmqpSupervisor:
    """Keeps a session with RabbitMQ and consumes while it lives.

    Any trouble with a session ends it, and a new one is built from nothing.

    Attributes:
        connectivity: What is known of the connection.
        endpoint: The node of the session, or of the last try.

    Args:
        portal: The asyncio event loop that hosts the AMQP side.
        sessions: How to open a session, one entry for each RabbitMQ node. In each round all of
            them are tried, one right after the other, until one opens. When their URLs are in a
            file, that is read again before each round.
        gated_queues: Queues that are consumed only while the gate is open, all or none.
        other_queues: Queues that are always consumed.
        consumption: The gate.
        backoff: The pauses between rounds.
        shuffle: Orders the nodes anew for each round, in place: many brokers, none of which
            prefers a node, spread over all of them.
    """

    def __init__(
        self,
        portal: BlockingPortal,
        *,
        sessions: Sequence[SessionParameters],
        gated_queues: Sequence[str],
        other_queues: Sequence[str],
        consumption: Gate,
        backoff: Backoff,
        shuffle: Callable[[list[SessionParameters]], None] = shuffle,
    ) -> None:
        self._portal = portal
        self._sessions = sessions
        self._gated_queues = gated_queues
        self._other_queues = other_queues
        self._consumption = consumption
        self._backoff = backoff
        self._shuffle = shuffle
        self._draining = trio.Event()
        self._drained = trio.Event()
        self._holds_deliveries = False
        self._session: Session | None = None
        self.endpoint: AmqpEndpoint = sessions[0].endpoint
        self.connectivity = Connectivity(str(self.endpoint))

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

    async def run(self, mailbox: Mailbox) -> None:
        """Keep a session until cancelled; on cancellation it is closed within three seconds.

        Args:
            mailbox: Where deliveries go.
        """
        while not self._draining.is_set():
            pause = await self._round(mailbox)
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

    async def _round(self, mailbox: Mailbox) -> float:
        """Try the nodes until one opens and is lost again; return the pause before the next."""
        try:
            untried = await self._sessions_of_now()
        except UnusableFileError as error:
            pause = self._backoff.after(0.0)
            self._lost(str(error), pause)
            return pause
        self._shuffle(untried)
        while True:
            parameters = untried.pop(0)
            lost, lifetime = await self._live(parameters, mailbox)
            is_over = lifetime is not None or not untried
            pause = self._backoff.after(lifetime or 0.0) if is_over else 0.0
            self._lost(str(lost), pause)
            if is_over or self._draining.is_set():
                return pause

    async def _sessions_of_now(self) -> list[SessionParameters]:
        """Return how to open a session with each node that a file names now.

        Raises:
            UnusableFileError: It cannot be used.
        """
        like, nodes = self._sessions[0], self._sessions[0].nodes
        if nodes is None or nodes.url_file is None:
            return list(self._sessions)
        with trio.move_on_after(_READ_TIMEOUT):
            endpoints = await trio.to_thread.run_sync(nodes.read, abandon_on_cancel=True)
            return [msgspec.structs.replace(like, endpoint=endpoint) for endpoint in endpoints]
        raise UnusableFileError(f"AMQP_URL_FILE could not be read within {_READ_TIMEOUT:g} s")

    def _lost(self, error: str, pause: float) -> None:
        self.connectivity.lost(error)
        # A broker that stops tries no more.
        retry = {} if self._draining.is_set() else {"retry_in_seconds": round(pause, 1)}
        _log.warning("amqp_lost", endpoint=str(self.endpoint), error=error, **retry)

    async def _live(
        self, parameters: SessionParameters, mailbox: Mailbox
    ) -> tuple[SessionLostError, float | None]:
        """Return why the session ended, and how many seconds it was open; None if it never was."""
        opened_at = None
        self.endpoint = parameters.endpoint
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
            return error, None if opened_at is None else trio.current_time() - opened_at
        finally:
            self._session = None
        raise AssertionError("a session neither lasted nor was lost")

    async def _consume(self, session: Session, mailbox: Mailbox) -> None:
        async with trio.open_nursery() as consumers:
            for queue in self._other_queues:
                consumers.start_soon(session.consume, queue, mailbox.deliver)
            consumers.start_soon(self._consume_gated, session, mailbox)
            await self._draining.wait()
            # Each consumer hands over what it has, and ends when all of that is acknowledged.
            consumers.cancel_scope.cancel()

    async def _consume_gated(self, session: Session, mailbox: Mailbox) -> None:
        while True:
            await self._consumption.opened()
            async with trio.open_nursery() as consumers:
                for queue in self._gated_queues:
                    await consumers.start(session.consume, queue, mailbox.deliver)
                    _log.info("routing_started", queue=queue)
                await self._consumption.closed()
                consumers.cancel_scope.cancel()
            for queue in self._gated_queues:
                _log.warning("routing_paused", queue=queue)
