"""What comes of a delivery: decoded once, decided once, turned into its settlement."""

from collections.abc import Callable
from random import random
from uuid import uuid4

import msgspec
import structlog

from broker.amqp import (
    DeadLetterAddress,
    Delivery,
    Publishing,
    Refusals,
    Settlement,
    dead_letter,
)
from broker.core import codec
from broker.core.hops import HopCounter
from broker.core.messages import (
    UNKNOWN_SENDER,
    AgentError,
    ChatMessage,
    ClientDisconnected,
    RegisterAgent,
    Rejected,
    RejectReason,
    ServerAvailable,
)
from broker.core.policy import CannotRoute, RouteTo, route
from broker.core.registry import AgentRegistry, RegistryFullError
from broker.core.sharding import shard_of
from broker.router.replication import Replication
from broker.telemetry.tally import MessageTally, Outcome

_NO_ROOM = Rejected(
    RejectReason.REGISTRY_FULL, "as many agents are online as BROKER_MAX_AGENTS allows"
)
_MOST_RETURNS = 10
"""A message is published anew to its quorum queue long before, unless that queue refuses it. Then
it must not wait for the 21st return, at which RabbitMQ 4 drops it."""
_FAILED = Rejected(RejectReason.INTERNAL_ERROR, "the broker failed on this message; see its log")

_PASSED_ON = frozenset({Outcome.ROUTED, Outcome.FORWARDED})
"""Messages of agents that leave as they came: with their priority, and for as long as they are
worth delivering. An answer is nobody's to expire."""

_REGISTRY_EVENT = "REGISTRY_EVENT"
"""Stands for the types of what brokers tell each other."""

type Decide = Callable[[Delivery], Settlement]
"""Returns what is decided about a delivery. Never raises."""

_log = structlog.get_logger(__name__)


class QueueNames(msgspec.Struct, frozen=True):
    """The queues between agents, broker and server.

    Attributes:
        inputs: Where chat messages come from, at least one.
        outputs: Where what comes of them goes to, at least one. All messages for an agent go to the
            same, and what is not addressed to an agent goes to the first.
        metadata: Where registrations come from.
        advertisement: Where the advertisements of servers come from.
        dead_letter: Where messages are parked.
        registry_exchange: A fanout exchange, consumed like a queue: what all brokers learned.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: str
    advertisement: str
    dead_letter: str
    registry_exchange: str


class _Accepted(msgspec.Struct, frozen=True):
    """A delivery that was understood, and what comes of it."""

    message_type: str
    outcome: Outcome
    settlement: Settlement


class Dispatcher:
    """Decides deliveries by the registry, and changes it by what they say.

    Args:
        queues: Their names.
        registry: The agent registry.
        tally: Counts what became of the deliveries.
        broker_id: What the broker calls itself until the server names it.
        max_message_bytes: Larger bodies are dead-lettered.
        refusals: Tells what RabbitMQ does not take.
        max_hops: How many messages may answer each other in a row; 0 means any number.
        agent_registered: Called after a registration by queue.
        unknown_sender: Called with the id of a sender that the registry lacks.
        server_available: Called when a server advertises itself.
    """

    def __init__(
        self,
        *,
        queues: QueueNames,
        registry: AgentRegistry,
        tally: MessageTally,
        broker_id: str,
        max_message_bytes: int,
        refusals: Refusals,
        max_hops: int,
        agent_registered: Callable[[], None],
        unknown_sender: Callable[[str], None],
        server_available: Callable[[ServerAvailable], None],
    ) -> None:
        self._queues = queues
        self.broker_id = broker_id
        self._registry = registry
        self._tally = tally
        self._max_bytes = max_message_bytes
        self._refusals = refusals
        self._max_hops = max_hops
        self._hops = HopCounter()
        self._unknown_sender = unknown_sender
        self._replication = Replication(
            queues.registry_exchange,
            registry,
            agent_registered=agent_registered,
            server_available=server_available,
        )
        self._decide: dict[str, Callable[[Delivery], _Accepted | Rejected]] = {
            **dict.fromkeys(queues.inputs, self._decide_input),
            queues.metadata: self._decide_metadata,
            queues.advertisement: self._decide_advertisement,
            queues.registry_exchange: self._decide_registry_event,
        }

    @property
    def broker_id(self) -> str:
        """Who publishes and dead-letters: what the broker calls itself, or the server named it."""
        return self._dead_letters.broker_id

    @broker_id.setter
    def broker_id(self, broker_id: str) -> None:
        self._dead_letters = DeadLetterAddress(self._queues.dead_letter, broker_id)

    def settle(self, delivery: Delivery) -> Settlement:
        """Return what is decided about a delivery.

        Never raises: whatever a message does to the broker, its neighbours are routed.
        """
        try:
            decision = _obstacle(delivery) or self._decide[delivery.queue](delivery)
        except Exception:  # noqa: BLE001 - its neighbours must be routed
            _log.exception("decision_failed", queue=delivery.queue)
            decision = _FAILED
        if delivery.redelivered:
            self._tally.redelivered += 1
        if isinstance(decision, Rejected):
            self._tally.unaccepted(delivery.queue)
            reason = decision.reason.value
            letter = dead_letter(
                delivery,
                queue=self._queues.dead_letter,
                reason=reason,
                error=decision.error,
                broker_id=self.broker_id,
            )
            return Settlement(delivery, letter, rejected=reason)
        self._tally.accepted(delivery.queue, decision.message_type, decision.outcome)
        return decision.settlement

    def _decide_input(self, delivery: Delivery) -> _Accepted | Rejected:
        message = codec.decode_input(delivery.body, self._max_bytes)
        match message:
            case ChatMessage():
                if self._max_hops and (hops := self._hops.count(message)) > self._max_hops:
                    return _too_many_hops(hops, self._max_hops)
                self._notice_sender(message)
                return self._published(delivery, message.message_type, *self._route(message))
            case AgentError():
                return self._published(delivery, "ERROR", Outcome.FORWARDED, delivery.body)
            case Rejected():
                return message

    def _route(self, message: ChatMessage) -> tuple[Outcome, bytes, str]:
        decision = route(message, self._registry, random)
        match decision:
            case RouteTo():
                self._registry.count_routed(decision.receiver_id)
                routed = codec.encode_routed(message, decision.receiver_id)
                return Outcome.ROUTED, routed, shard_of(decision.receiver_id, self._queues.outputs)
            case CannotRoute():
                failure = codec.encode_routing_failure(message, decision.reason, str(uuid4()))
                return Outcome(decision.reason), failure, self._queues.outputs[0]

    def _notice_sender(self, message: ChatMessage) -> None:
        # Clients of the server carry `_client_id`; any other named sender should be an agent.
        if (
            message.sender_id not in self._registry
            and message.sender_id != UNKNOWN_SENDER
            and "_client_id" not in message.fields
        ):
            self._unknown_sender(message.sender_id)

    def _decide_metadata(self, delivery: Delivery) -> _Accepted | Rejected:
        message = codec.decode_metadata(delivery.body, self._max_bytes)
        match message:
            case RegisterAgent():
                try:
                    event = self._replication.learned(message, self.broker_id)
                except RegistryFullError:
                    return _NO_ROOM
                _log.debug("agent_registered", agent_id=message.agent_id)
                response = codec.encode_register_response(message)
                return self._published(
                    delivery, "REGISTER_AGENT", Outcome.REGISTERED, response, announcement=event
                )
            case ClientDisconnected():
                event = self._replication.learned(message, self.broker_id)
                _log.debug("agent_disconnected", agent_id=message.agent_id)
                settlement = Settlement(delivery, announcement=event)
                return self._accepted("CLIENT_DISCONNECTED", Outcome.DISCONNECTED, settlement)
            case Rejected():
                return message

    def _decide_advertisement(self, delivery: Delivery) -> _Accepted | Rejected:
        message = codec.decode_advertisement(delivery.body, self._max_bytes)
        match message:
            case ServerAvailable():
                event = self._replication.learned(message, self.broker_id)
                settlement = Settlement(delivery, announcement=event)
                return self._accepted("SERVER_AVAILABLE", Outcome.ADVERTISED, settlement)
            case Rejected():
                return message

    def _decide_registry_event(self, delivery: Delivery) -> _Accepted | Rejected:
        event = codec.decode_registry_event(delivery.body, self._max_bytes)
        if isinstance(event, Rejected):
            return event
        try:
            self._replication.heard(event)
        except RegistryFullError:
            # Whoever learned it has room, or parked the registration.
            _log.warning("registry_full", entries=1, allowed=self._registry.max_agents)
        return _Accepted(_REGISTRY_EVENT, Outcome.REPLICATED, Settlement(delivery))

    def _published(
        self,
        delivery: Delivery,
        message_type: str,
        outcome: Outcome,
        body: bytes,
        queue: str | None = None,
        *,
        announcement: Publishing | None = None,
    ) -> _Accepted | Rejected:
        passes_on = outcome in _PASSED_ON
        publishing = Publishing(
            self._queues.outputs[0] if queue is None else queue,
            body,
            self.broker_id,
            delivery.headers,
            delivery.correlation_id,
            priority=delivery.priority if passes_on else None,
            expiration=delivery.expiration if passes_on else None,
        )
        settlement = Settlement(
            delivery,
            publishing,
            fallback=self._dead_letters,
            announcement=announcement,
        )
        return self._accepted(message_type, outcome, settlement)

    def _accepted(
        self, message_type: str, outcome: Outcome, settlement: Settlement
    ) -> _Accepted | Rejected:
        # Routing adds a receiver, answers and announcements repeat ids and URLs. RabbitMQ would
        # close the channel.
        for publishing in (settlement.publishing, settlement.announcement):
            if publishing is not None and len(publishing.body) > self._refusals.max_message_size:
                return _too_large(len(publishing.body), self._refusals.max_message_size)
        return _Accepted(message_type, outcome, settlement)


def _obstacle(delivery: Delivery) -> Rejected | None:
    if delivery.properties_error is not None:
        return Rejected(RejectReason.INVALID_PROPERTIES, delivery.properties_error)
    if delivery.delivery_count >= _MOST_RETURNS:
        error = f"it came back to its quorum queue {delivery.delivery_count} times"
        return Rejected(RejectReason.INTERNAL_ERROR, error)
    return None


def _too_large(size: int, max_size: int) -> Rejected:
    error = f"to be published it needs {size} bytes, and RabbitMQ takes {max_size}"
    return Rejected(RejectReason.TOO_LARGE, error)


def _too_many_hops(hops: int, max_hops: int) -> Rejected:
    return Rejected(
        RejectReason.TOO_MANY_HOPS,
        f"it is message {hops} of a row of answers, and BROKER_MAX_HOPS allows {max_hops}",
    )
