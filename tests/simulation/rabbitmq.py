"""A RabbitMQ node in memory. What it does of itself, it does when it is told to."""

import asyncio
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from random import choice, random

import trio

from broker.amqp import AmqpTimeouts
from tests.simulation.amqp_connection import Channel, Connection, Stored, Unconfirmed
from tests.simulation.guest_loop import GuestLoop
from tests.simulation.ledger import Fate, Ledger, Message, State, numbers_in
from tests.simulation.trace import Trace

INPUT, METADATA, ADVERTISEMENT = "in", "meta", "advert"
OUTPUT, DEAD_LETTERS = "out", "dead"
CONSUMED = (INPUT, METADATA, ADVERTISEMENT)

_CONNECT_DELAY = 0.002


class Rabbitmq:
    """The node.

    Attributes:
        is_down: New connections are refused.
        is_silent: New connections are taken, and then nothing is said.
        refuses_logins: They may connect, but not log in.
        has_alarm: It stops reading from connections that publish.
        is_mute: It tells nobody what became of a publishing.
        has_hung: A connection hung: what was written to it may never have arrived.
        refusals: The chance that it does not take a publishing.
        away: Queues that exist and cannot be used.
        refuses_exchange: The exchange takes no messages from the broker.
        receivers: Who may receive chat messages from now on; None means whoever.
    """

    def __init__(self, ledger: Ledger, trace: Trace, prefetch: int) -> None:
        self.queues: dict[str, deque[Stored]] = {}
        self.connections: list[Connection] = []
        self.is_down = self.is_silent = self.refuses_logins = False
        self.has_alarm = self.is_mute = self.has_hung = False
        self.refusals = 0.0
        self.away: set[str] = set()
        self.refuses_exchange = False
        self.receivers: frozenset[str] | None = None
        self._connected = 0
        self._ledger = ledger
        self._trace = trace
        self._prefetch = prefetch
        for queue in CONSUMED:
            self.queues[queue] = deque()

    # What it does of itself

    def take(self, queue: str, message: Message, body: bytes, properties: bytes) -> None:
        """Take a message for the broker, as somebody published it."""
        self.queues[queue].append(Stored(message, queue, body, properties))
        self._trace.note(f"{message} into {queue} {body!r}")

    def deliver(self, most: int) -> None:
        """Deliver some of what waits, to each consumer with room."""
        for connection, channel in self.consumers():
            for _ in range(most):
                waiting = self.queues[channel.queue or ""]
                if not (waiting and channel.has_room) or connection.is_frozen:
                    break
                stored = waiting.popleft()
                connection.deliver(channel, stored)
                self._ledger.delivered(stored.message, channel.name, channel.last_tag)
                self._trace.note(f"{stored.message} delivered as {channel.name}:{channel.last_tag}")

    def confirm(self, most: int) -> None:
        for connection, channel in self.channels():
            for _ in range(most):
                if not channel.unconfirmed or self.is_mute or connection.is_frozen:
                    break
                connection.confirm_some(channel)

    def alarm(self, *, on: bool) -> None:
        self.has_alarm = on
        for connection in self.connections:
            if connection.is_blocked and not on:
                connection.unblock()

    def channels(self) -> Iterator[tuple[Connection, Channel]]:
        for connection in tuple(self.connections):
            for channel in tuple(connection.channels.values()):
                yield connection, channel

    def consumers(self) -> list[tuple[Connection, Channel]]:
        return [(one, channel) for one, channel in self.channels() if channel.queue]

    @property
    def is_drained(self) -> bool:
        """Whether nothing waits for the broker, and it holds nothing."""
        return not any(self.queues[queue] for queue in CONSUMED) and not any(
            channel.unacknowledged for _, channel in self.channels()
        )

    # What its connections tell it

    async def connect(
        self, loop: GuestLoop, protocol: asyncio.Protocol, host: str
    ) -> asyncio.Transport:
        await asyncio.sleep(_CONNECT_DELAY)
        if self.is_down:
            self._trace.note(f"connection to {host} refused")
            raise ConnectionRefusedError(111, "refused by chance")
        self._connected += 1
        connection = Connection(self, loop, protocol, f"c{self._connected}")
        connection.is_frozen = self.is_silent
        self.connections.append(connection)
        self._trace.note(f"{connection.name} connected")
        return connection

    def blocked(self, connection: Connection) -> None:
        self._trace.note(f"{connection.name} is blocked")
        self._trace.blocked_from, self._trace.blocked_until = trio.current_time(), math.inf

    def unblocked(self, connection: Connection) -> None:
        self._trace.blocked_until = trio.current_time()
        seconds = self._trace.blocked_until - self._trace.blocked_from
        length = "long" if seconds > AmqpTimeouts().confirm else "short"
        self._trace.note(f"{connection.name} is no longer blocked, after a {length} alarm")

    def declares(self, queue: str, *, passive: bool) -> bool:
        if queue not in self.queues and not passive:
            self.queues[queue] = deque()
            self._trace.note(f"queue {queue} created")
        return queue in self.queues

    def consumed(self, channel: Channel) -> None:
        self._trace.note(f"{channel.name} consumes {channel.queue}")
        if channel.prefetch != self._prefetch:
            self._trace.violation(f"{channel.name} takes {channel.prefetch} at once")

    def published(
        self, connection: Connection, queue: str, body: bytes, headers: Mapping[str, object]
    ) -> Unconfirmed:
        """Take a publishing of the broker, refuse or return it."""
        if not body:
            # The broker wants to know whether it is answered.
            return Unconfirmed(None, 0, State.RETURNED)
        [number] = numbers_in(body)
        message = self._ledger.messages[number]
        is_outlived = connection.take_outlived(message.number)
        if not is_outlived:
            self._ledger.published(message)
        if queue in self.away:
            # Versions differ in that.
            outcome = choice([State.RETURNED, State.HELD])
        elif queue not in self.queues:
            outcome = State.RETURNED
        elif random() < self.refusals:
            outcome = State.HELD
        else:
            outcome = State.TAKEN
            self._check_copy(message, queue, body, headers)
        self._trace.note(f"{message} published to {queue}: {outcome.name} {body!r}")
        return Unconfirmed(message, 0 if is_outlived else message.delivery, outcome)

    def announced(self, body: bytes) -> Unconfirmed:
        """Take what the broker tells other brokers, of whom there are none, or refuse it."""
        outcome = State.HELD if random() < self.refusals else State.TAKEN
        self._trace.note(f"announced: {outcome.name} {json.loads(body)['message_type']}")
        return Unconfirmed(None, 0, outcome)

    def resolved(self, told: Unconfirmed) -> None:
        if told.message is not None:
            self._ledger.resolved(told.message, told.delivery, told.outcome)
        self._trace.note(f"{told.message} told {told.outcome.name}")

    def acknowledged(self, channel: Channel, tag: int, *, multiple: bool) -> None:
        if tag not in channel.unacknowledged:
            self._trace.violation(f"{channel.name}:{tag} was acknowledged, though not delivered")
        tags = [one for one in channel.unacknowledged if one == tag or (multiple and one < tag)]
        for one in tags:
            stored = channel.unacknowledged.pop(one)
            self._ledger.acknowledged(stored.message)
            self._trace.note(f"{stored.message} acknowledged")

    def take_back(self, channel: Channel, *, is_lost: bool) -> None:
        """Put what a channel held back into its queue."""
        for stored in reversed(channel.unacknowledged.values()):
            stored.is_redelivered = True
            self.queues[stored.queue].appendleft(stored)
            self._ledger.went_back(stored.message, is_lost=is_lost)
            for connection in self.connections:
                connection.outlive(stored.message)
            self._trace.note(f"{stored.message} put back")
        channel.unacknowledged.clear()

    def gone(self, connection: Connection, how: str) -> None:
        self.connections.remove(connection)
        self._trace.note(f"{connection.name} {how}")
        if connection.is_blocked:
            self.unblocked(connection)
        for channel in connection.channels.values():
            self.take_back(channel, is_lost=how == "lost")

    def _check_copy(
        self, message: Message, queue: str, body: bytes, headers: Mapping[str, object]
    ) -> None:
        reason = headers.get("x-broker-reason")
        self._ledger.has_copy(
            message,
            Fate.PARKED if queue == DEAD_LETTERS else Fate.ROUTED,
            unroutable=reason == "unroutable",
        )
        if queue == DEAD_LETTERS:
            return
        receiver = json.loads(body).get("receiver_id")
        if receiver is not None:
            self._check_receiver(message, receiver)

    def _check_receiver(self, message: Message, receiver: str) -> None:
        if receiver != "Server":
            message.receivers.add(receiver)
        if receiver == message.sender_id:
            self._trace.violation(f"{message} came back to its own sender {receiver}")
        if self.receivers is not None:
            candidates = self.receivers - {message.sender_id} or {"Server"}
            if receiver not in candidates:
                self._trace.violation(f"{message} went to {receiver}")
