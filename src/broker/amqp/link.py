"""The AMQP link: one session with RabbitMQ after another, and the consumers within."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from functools import partial
from random import shuffle

import msgspec
import structlog
import trio

from broker.amqp.border import SessionLostError
from broker.amqp.delivery import Deliveries
from broker.amqp.node_rounds import NodeRounds
from broker.amqp.queue_history import QueueCounts
from broker.amqp.session import Session
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.wire.errors import QueueUnavailableError
from broker.concurrency.wakeup import Gate
from broker.net.backoff import Backoff
from broker.net.unusable_file import UnusableFileError
from broker.telemetry.connectivity import Connectivity

_LONGEST_QUEUE_PAUSE = 10.0
"""Seconds between two tries to consume a queue that RabbitMQ does not let be consumed."""
_WITHOUT_INPUT = 60.0
"""Seconds without any queue that is gated, after which another node is tried, if there is one."""

type Deliver = Callable[[Deliveries], None]
"""Takes deliveries, in Trio's thread. Neither waits nor raises."""

type OpenSession = Callable[[SessionParameters], AbstractAsyncContextManager[Session]]

_log = structlog.get_logger(__name__)


class HeldQueue(msgspec.Struct, frozen=True):
    """The queue with messages that nobody could receive.

    Attributes:
        gate: Opened when they are to be looked at again. None when nothing is held any more: what
            an earlier broker has left in the queue, if it exists, is taken out.
    """

    queue: str
    gate: Gate | None


class AmqpLink:
    """Keeps a session with RabbitMQ and consumes while it lives.

    The loss of a connection ends the session, and a new one is built from nothing. A queue that
    RabbitMQ does not let be consumed is tried again by itself.

    Attributes:
        endpoint: The node of the session, or of the last try.

    Args:
        sessions: How to open a session, one entry for each RabbitMQ node. In each round all of
            them are tried, one right after the other, until one opens.
        gated_queues: Queues that are consumed only while the gate is open, all or none.
        held: The queue of held messages, if there may be one.
        shuffle: See `NodeRounds`, which takes the timeout as well.
    """

    def __init__(
        self,
        open_session: OpenSession,
        *,
        sessions: Sequence[SessionParameters],
        gated_queues: Sequence[str],
        other_queues: Sequence[str],
        consumption: Gate,
        held: HeldQueue | None = None,
        backoff: Backoff,
        shuffle: Callable[[list[SessionParameters]], None] = shuffle,
        read_timeout: float = 10.0,
    ) -> None:
        self._open_session = open_session
        self._sessions = sessions
        self._gated_queues = gated_queues
        self._other_queues = other_queues
        self._consumption = consumption
        self._held = held
        self._has_leftovers: bool | None = None
        self._backoff = backoff
        self._rounds = NodeRounds(sessions, shuffle, read_timeout)
        self._draining = trio.Event()
        self._drained = trio.Event()
        self._holds_deliveries = False
        self._is_spoiled = False
        self._refused: dict[str, str] = {}
        self._session: Session | None = None
        self.endpoint = sessions[0].endpoint
        self.connectivity = Connectivity(str(self.endpoint))

    @property
    def product(self) -> str | None:
        """What the session is with, such as `RabbitMQ 3.10.8`; None without a session."""
        return None if self._session is None else self._session.product

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

    @property
    def oldest_in_flight_seconds(self) -> float | None:
        """How long ago the oldest of them arrived; None without any."""
        return None if self._session is None else self._session.oldest_seconds

    @property
    def refused(self) -> Mapping[str, str]:
        """Why RabbitMQ does not let queues be consumed, by queue."""
        return self._refused

    @property
    def unavailable(self) -> Mapping[str, str]:
        """Why RabbitMQ does not let queues and exchanges be published to, by name."""
        return {} if self._session is None else self._session.unavailable

    @property
    def tried_again(self) -> Mapping[str, int]:
        """How many messages RabbitMQ did not take at first, by the queue or exchange they go to."""
        return {} if self._session is None else self._session.tried_again

    @property
    def overdue(self) -> int:
        """How many messages RabbitMQ neither takes nor refuses, although it answers."""
        return 0 if self._session is None else self._session.overdue

    @property
    def counts(self) -> Mapping[str, QueueCounts]:
        """What RabbitMQ said last of the queues that are watched; nothing of those not shown."""
        return {} if self._session is None else self._session.counts

    def messages_in(self, queue: str) -> int | None:
        """Return how many messages a watched queue had at the last look; None if not known."""
        counts = self.counts.get(queue)
        return None if counts is None else counts.messages

    @property
    def on_hold(self) -> Mapping[str, int]:
        """How many deliveries wait until RabbitMQ takes what was decided, by queue."""
        return {} if self._session is None else self._session.on_hold

    async def run(self, deliver: Deliver) -> None:
        """Keep a session until cancelled; on cancellation it is closed within three seconds."""
        while not self._draining.is_set():
            pause = await self._round(deliver)
            with trio.move_on_after(pause):
                await self._draining.wait()
        self._drained.set()
        await trio.sleep_forever()

    async def drain(self) -> bool:
        """Stop consuming, wait for what was taken, and return whether all of it is settled.

        A session that lives stays open until `run` is cancelled; no new one is opened.
        """
        self._draining.set()
        if self._holds_deliveries:
            await self._drained.wait()
        return not self._holds_deliveries

    async def _round(self, deliver: Deliver) -> float:
        """Try the nodes until one opens and is lost again; return the pause before the next."""
        try:
            untried = await self._rounds.next()
        except UnusableFileError as error:
            pause = self._backoff.after(0.0)
            self._ended("amqp_unavailable", str(error), pause)
            return pause
        while True:
            parameters = untried.pop(0)
            lost, lifetime = await self._live(parameters, deliver)
            is_over = lifetime is not None or not untried
            pause = self._backoff.after(lifetime or 0.0) if is_over else 0.0
            event = "amqp_unavailable" if lifetime is None else "amqp_lost"
            self._ended(event, str(lost), pause)
            if is_over or self._draining.is_set():
                return pause

    def _ended(self, event: str, error: str, pause: float) -> None:
        self.connectivity.lost(error)
        # A broker that stops tries no more.
        retry = {} if self._draining.is_set() else {"retry_in_seconds": round(pause, 1)}
        _log.warning(event, endpoint=str(self.endpoint), error=error, **retry)

    async def _live(
        self, parameters: SessionParameters, deliver: Deliver
    ) -> tuple[SessionLostError, float | None]:
        """Return why the session ended, and how many seconds it was open; None if it never was."""
        opened_at = None
        self.endpoint = parameters.endpoint
        self.connectivity.connecting(str(parameters.endpoint))
        _log.debug("amqp_connecting", endpoint=str(parameters.endpoint))
        try:
            async with self._open_session(parameters) as session:
                opened_at = trio.current_time()
                self._session = session
                self.connectivity.connected()
                _log.info(
                    "amqp_connected",
                    endpoint=str(parameters.endpoint),
                    product=session.product,
                )
                if not self._draining.is_set():
                    self._holds_deliveries = True
                    self._is_spoiled = False
                    await self._consume(session, deliver)
                    self._holds_deliveries = self._is_spoiled
                self._drained.set()
                await trio.sleep_forever()
        except SessionLostError as error:
            # Unless the loss spoils a graceful stop: what was held is back in its queue.
            self._holds_deliveries = self._holds_deliveries and self._draining.is_set()
            if opened_at is None:
                return error, None
            self._rounds.lost = parameters.endpoint
            return error, trio.current_time() - opened_at
        finally:
            self._session = None
            self._refused.clear()
        raise AssertionError("a session neither lasted nor was lost")

    async def _consume(self, session: Session, deliver: Deliver) -> None:
        async with trio.open_nursery() as consumers:
            for queue in self._other_queues:
                consumers.start_soon(self._keep_consuming, session, queue, deliver)
            consumers.start_soon(self._consume_gated, session, deliver)
            if self._held is not None:
                consumers.start_soon(self._consume_held, session, self._held, deliver)
            if len(self._sessions) > 1:
                consumers.start_soon(self._leave_a_node_without_input)
            await self._draining.wait()
            # Each consumer hands over what it has, and ends when all of that is acknowledged.
            consumers.cancel_scope.cancel()

    async def _consume_gated(self, session: Session, deliver: Deliver) -> None:
        while True:
            await self._consume_once(session, self._gated_queues, self._consumption, deliver)
            for queue in self._gated_queues:
                _log.warning("routing_paused", queue=queue)

    async def _consume_held(self, session: Session, held: HeldQueue, deliver: Deliver) -> None:
        if held.gate is None:
            # A wrong guess would be noted in RabbitMQ's log with each session.
            if self._has_leftovers is None:
                self._has_leftovers = await session.has_queue(held.queue)
            if self._has_leftovers:
                await self._keep_consuming(session, held.queue, deliver)
            return
        while True:
            await self._consume_once(session, (held.queue,), held.gate, deliver)

    async def _consume_once(
        self, session: Session, queues: Sequence[str], gate: Gate, deliver: Deliver
    ) -> None:
        """Consume queues from the next time that a gate opens until it is closed."""
        await gate.opened()
        async with trio.open_nursery() as consumers:
            for queue in queues:
                consumers.start_soon(self._keep_consuming, session, queue, deliver)
            await gate.closed()
            consumers.cancel_scope.cancel()

    async def _leave_a_node_without_input(self) -> None:
        """Lose the session when it can consume no gated queue for long: another node may."""
        seconds = 0.0
        while True:
            await trio.sleep(_LONGEST_QUEUE_PAUSE)
            is_useless = bool(self._gated_queues) and self._refused.keys() >= set(
                self._gated_queues
            )
            seconds = seconds + _LONGEST_QUEUE_PAUSE if is_useless else 0.0
            if seconds >= _WITHOUT_INPUT:
                queues = ", ".join(self._gated_queues)
                raise SessionLostError(f"this node does not let {queues} be consumed")

    async def _keep_consuming(self, session: Session, queue: str, deliver: Deliver) -> None:
        """Consume a queue until cancelled, and try again when RabbitMQ does not let it."""
        pauses = Backoff(maximum=_LONGEST_QUEUE_PAUSE)
        while True:
            started = _Started(partial(self._started, queue))
            try:
                await session.consume(queue, deliver, task_status=started)
            except QueueUnavailableError as error:
                pause = pauses.after(started.seconds_ago)
                self._refused_one(queue, str(error), pause)
                # What was held and not settled is back in the queue, which spoils a graceful stop.
                self._is_spoiled |= self._draining.is_set() and started.is_set
                await trio.sleep(pause)

    def _started(self, queue: str) -> None:
        was_refused = self._refused.pop(queue, None) is not None
        if queue in self._gated_queues:
            _log.info("routing_started", queue=queue)
        elif was_refused:
            _log.info("consumer_resumed", queue=queue)

    def _refused_one(self, queue: str, error: str, pause: float) -> None:
        log = _log.debug if self._refused.get(queue) == error else _log.warning
        log("consumer_lost", queue=queue, error=error, retry_in_seconds=round(pause, 1))
        self._refused[queue] = error


class _Started:
    """The status of a task that consumes, and tells once that it has started."""

    def __init__(self, started: Callable[[], None]) -> None:
        self._started = started
        self._at: float | None = None

    @property
    def is_set(self) -> bool:
        return self._at is not None

    @property
    def seconds_ago(self) -> float:
        return 0.0 if self._at is None else trio.current_time() - self._at

    def started(self, value: None = None) -> None:  # noqa: ARG002 - of the protocol
        self._at = trio.current_time()
        self._started()
