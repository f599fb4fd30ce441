"""Decide each delivery: a pure function of the delivery, the registry and the limits."""

from collections.abc import Callable
from random import random
from uuid import uuid4

from broker.amqp import (
    DeadLetterAddress,
    Delivery,
    Held,
    Publishing,
    Refusals,
    held_headers,
)
from broker.core import codec
from broker.core.hops import Hop, HopCounter
from broker.core.messages import (
    MAX_MESSAGE_ID_LENGTH,
    UNKNOWN_SENDER,
    AgentError,
    Answer,
    ChatMessage,
    ClientDisconnected,
    RegisterAgent,
    RegistryEvent,
    Rejected,
    RejectReason,
    ServerAvailable,
)
from broker.core.registry import AgentRegistry
from broker.core.routing.failure import FailureReason
from broker.core.routing.route import route
from broker.core.sharding import shard_of
from broker.router.decision import Decision, rejected
from broker.router.holding import Holding
from broker.router.rules import AT_RANDOM, Limits, Routing, Topology
from broker.telemetry.tally import UNACCEPTED, MessageOutcome

_NO_ROOM = Rejected(
    RejectReason.REGISTRY_FULL, "as many agents are online as BROKER_MAX_AGENTS allows"
)
_MOST_RETURNS = 10
"""A message is published anew to its quorum queue long before, unless that queue refuses it. Then
it must not wait for the 21st return, at which RabbitMQ 4 drops it."""

_PASSED_ON = frozenset({MessageOutcome.ROUTED, MessageOutcome.FORWARDED})
"""Messages of agents that leave as they came: with their priority, and for as long as they are
worth delivering. An answer of the broker never expires."""

_REGISTRY_EVENT = "REGISTRY_EVENT"
"""Stands for the types of what brokers tell each other."""


class Decider:
    """Decides deliveries. It reads the registry and changes nothing.

    Attributes:
        dead_letters: Where dead letters go, and the `broker_id` of all that is published.

    Args:
        broker_id: What the broker calls itself until the server names it.
        random: Returns a float in [0.0, 1.0).
        new_id: Returns an id for a message of the broker.
    """

    def __init__(
        self,
        *,
        topology: Topology,
        registry: AgentRegistry,
        hops: HopCounter,
        broker_id: str,
        limits: Limits,
        refusals: Refusals,
        routing: Routing = AT_RANDOM,
        holding: Holding | None = None,
        random: Callable[[], float] = random,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self.dead_letters = DeadLetterAddress(topology.dead_letter, broker_id)
        self._topology = topology
        self._registry = registry
        self._hops = hops
        self._max_bytes = limits.max_message_bytes
        self._max_hops = limits.max_hops
        self._refusals = refusals
        self._routing = routing
        self._holding = holding or Holding(0)
        self._random = random
        self._new_id = new_id
        self._by_source: dict[str, Callable[[Delivery], Decision]] = {
            **dict.fromkeys(topology.inputs, self._decide_chat),
            topology.metadata: self._decide_metadata,
            topology.advertisement: self._decide_advertisement,
            topology.registry_exchange: self._decide_registry_event,
            topology.held: self._decide_held,
        }

    def use_broker_id(self, broker_id: str) -> None:
        """Publish and dead-letter by this id from now on."""
        self.dead_letters = DeadLetterAddress(self._topology.dead_letter, broker_id)

    def decide(self, delivery: Delivery) -> Decision:
        """Return what becomes of a delivery."""
        if delivery.properties_error is not None:
            return rejected(Rejected(RejectReason.INVALID_PROPERTIES, delivery.properties_error))
        if delivery.delivery_count >= _MOST_RETURNS:
            return rejected(_too_many_returns(delivery.delivery_count))
        decision = self._by_source[delivery.source](delivery)
        # Routing adds a receiver, answers and announcements repeat ids and URLs. RabbitMQ would
        # close the channel.
        most = self._refusals.max_message_size
        for publishing in (decision.publishing, decision.announcement):
            if publishing is not None and len(publishing.body) > most:
                # Only what is true of the message itself still counts.
                return Decision(
                    UNACCEPTED,
                    _too_large(len(publishing.body), most),
                    sender_id=decision.sender_id,
                    unknown_sender=decision.unknown_sender,
                    hop=decision.hop,
                    answer=decision.answer,
                )
        return decision

    def _decide_chat(self, delivery: Delivery) -> Decision:
        message = codec.decode_input(delivery.body, self._max_bytes)
        match message:
            case ChatMessage():
                hop = self._hops.hop(message) if self._max_hops else None
                if hop is not None and hop.number > self._max_hops:
                    too_many = _too_many_hops(hop.number, self._max_hops)
                    answer = self._answer(message.sender_id, message.in_reply_to)
                    sender_id = self._known(message.sender_id)
                    return Decision(
                        UNACCEPTED, too_many, sender_id=sender_id, hop=hop, answer=answer
                    )
                return self._route(delivery, message, hop)
            case AgentError():
                outcome = MessageOutcome.FORWARDED
                publishing = self._publishing(outcome, delivery, delivery.body)
                answer = self._answer(message.sender_id, message.in_reply_to)
                sender_id = self._known(message.sender_id)
                return Decision("ERROR", outcome, publishing, sender_id=sender_id, answer=answer)
            case Rejected():
                return rejected(message)

    def _decide_held(self, delivery: Delivery) -> Decision:
        message = codec.decode_input(delivery.body, self._max_bytes)
        match message:
            case ChatMessage():
                # Its place in a row of answers was looked at when it came.
                return self._route(delivery, message, None, delivery.held)
            case Rejected():
                return rejected(message)
        error = "what is held must be a TEXT, REPLY or SYSTEM message"
        return rejected(Rejected(RejectReason.UNSUPPORTED_MESSAGE_TYPE, error))

    def _route(
        self,
        delivery: Delivery,
        message: ChatMessage,
        hop: Hop | None,
        held_before: Held | None = None,
    ) -> Decision:
        sender_id = unknown_sender = None
        if message.sender_id not in self._registry:
            unknown_sender = _unknown_sender(message)
        elif held_before is None:
            sender_id = message.sender_id
        answer = asks = None
        if self._routing.follows_answers:
            if held_before is None:  # else it counted when it came
                answer = self._answer(message.sender_id, message.in_reply_to)
            # What is itself an answer asks for nothing.
            asks = None if message.in_reply_to else message.text("message_id")
            if asks is not None and not _is_remembered(asks):
                asks = None
        chosen = route(
            message,
            self._registry,
            random=self._random,
            choose=self._routing.choose,
            rule=self._routing.receiver,
        )
        if isinstance(chosen, Rejected):
            return Decision(UNACCEPTED, chosen, sender_id=sender_id, hop=hop, answer=answer)
        receiver_id = queue = None
        if isinstance(chosen, FailureReason):
            held = self._holding.hold(held_before, delivery.expiration)
            if held is not None:
                outcome = MessageOutcome.HELD_AGAIN if held_before else MessageOutcome.HELD
                return Decision(
                    message.message_type,
                    outcome,
                    self._into_hold(delivery, held),
                    sender_id=sender_id,
                    unknown_sender=unknown_sender,
                    hop=hop,
                    held=held,
                    answer=answer,
                )
            outcome = MessageOutcome(chosen)
            waited = None if held_before is None else self._holding.seconds_held(held_before)
            body = codec.encode_routing_failure(message, chosen, self._new_id(), waited)
        else:
            receiver_id = chosen.agent_id
            outcome = MessageOutcome.ROUTED
            body = codec.encode_routed(message, receiver_id)
            queue = shard_of(receiver_id, self._topology.outputs)
        return Decision(
            message.message_type,
            outcome,
            self._publishing(outcome, delivery, body, queue, held_before),
            receiver_id=receiver_id,
            sender_id=sender_id,
            unknown_sender=unknown_sender,
            hop=hop,
            asks=asks,
            answer=answer,
        )

    def _into_hold(self, delivery: Delivery, held: Held) -> Publishing:
        return Publishing(
            self._topology.held,
            delivery.body,
            self.dead_letters.broker_id,
            {**delivery.headers, **held_headers(held)},
            delivery.correlation_id,
            priority=delivery.priority,
        )

    def _answer(self, sender_id: str | None, message_id: str | None) -> Answer | None:
        if not self._routing.follows_answers or sender_id is None or message_id is None:
            return None
        if sender_id not in self._registry or not _is_remembered(message_id):
            return None
        return Answer(sender_id, message_id)

    def _known(self, sender_id: str | None) -> str | None:
        return sender_id if sender_id is not None and sender_id in self._registry else None

    def _decide_metadata(self, delivery: Delivery) -> Decision:
        message = codec.decode_metadata(delivery.body, self._max_bytes)
        match message:
            case RegisterAgent():
                if not self._registry.has_room(message.agent_id):
                    return rejected(_NO_ROOM)
                response = codec.encode_register_response(message)
                outcome = MessageOutcome.REGISTERED
                publishing = self._publishing(outcome, delivery, response)
                return self._learned("REGISTER_AGENT", outcome, message, publishing)
            case ClientDisconnected():
                return self._learned("CLIENT_DISCONNECTED", MessageOutcome.DISCONNECTED, message)
            case Rejected():
                return rejected(message)

    def _decide_advertisement(self, delivery: Delivery) -> Decision:
        message = codec.decode_advertisement(delivery.body, self._max_bytes)
        if isinstance(message, Rejected):
            return rejected(message)
        return self._learned("SERVER_AVAILABLE", MessageOutcome.ADVERTISED, message)

    def _decide_registry_event(self, delivery: Delivery) -> Decision:
        event = codec.decode_registry_event(delivery.body, self._max_bytes)
        if isinstance(event, Rejected):
            return rejected(event)
        is_echo = event.version.origin == self._registry.clock.origin
        return Decision(_REGISTRY_EVENT, MessageOutcome.REPLICATED, event=event, is_echo=is_echo)

    def _learned(
        self,
        message_type: str,
        outcome: MessageOutcome,
        change: RegisterAgent | ClientDisconnected | ServerAvailable,
        publishing: Publishing | None = None,
    ) -> Decision:
        event = RegistryEvent(change, self._registry.clock.upcoming())
        announcement = self.announcement(event)
        return Decision(message_type, outcome, publishing, announcement, event=event)

    def announcement(self, event: RegistryEvent) -> Publishing:
        """Return what tells the other brokers of an event."""
        return Publishing(
            "",
            codec.encode_registry_event(event),
            self.dead_letters.broker_id,
            exchange=self._topology.registry_exchange,
        )

    def _publishing(
        self,
        outcome: MessageOutcome,
        delivery: Delivery,
        body: bytes,
        queue: str | None = None,
        held: Held | None = None,
    ) -> Publishing:
        passes_on = outcome in _PASSED_ON
        expiration = delivery.expiration if held is None else held.expiration
        return Publishing(
            self._topology.outputs[0] if queue is None else queue,
            body,
            self.dead_letters.broker_id,
            delivery.headers,
            delivery.correlation_id,
            priority=delivery.priority if passes_on else None,
            expiration=expiration if passes_on else None,
        )


def _unknown_sender(message: ChatMessage) -> str | None:
    """Return the sender of a message, which the registry lacks, if it should be an agent."""
    # Clients of the server carry `_client_id`; any other named sender should be an agent.
    is_none = message.sender_id == UNKNOWN_SENDER or "_client_id" in message.fields
    return None if is_none else message.sender_id


def _is_remembered(message_id: str) -> bool:
    """Whether a message is waited for by its id; any length would take any memory."""
    return 0 < len(message_id) <= MAX_MESSAGE_ID_LENGTH


def _too_many_returns(count: int) -> Rejected:
    error = f"it came back to its quorum queue {count} times"
    return Rejected(RejectReason.INTERNAL_ERROR, error)


def _too_large(size: int, max_size: int) -> Rejected:
    error = f"to be published it needs {size} bytes, and RabbitMQ takes {max_size}"
    return Rejected(RejectReason.TOO_LARGE, error)


def _too_many_hops(hops: int, max_hops: int) -> Rejected:
    return Rejected(
        RejectReason.TOO_MANY_HOPS,
        f"it is message {hops} of a row of answers, and BROKER_MAX_HOPS allows {max_hops}",
    )
