"""Messages to bytes."""

from datetime import UTC, datetime

import msgspec
from msgspec import UNSET, Raw, Struct

from broker.core import contract
from broker.core.lone_surrogates import restore_lone_surrogates
from broker.core.messages import (
    AnswersSeen,
    Change,
    ChatMessage,
    ClientDisconnected,
    RegisterAgent,
    RegistryEvent,
    ServerAvailable,
)
from broker.core.routing.failure import FailureReason

_SERVER_BOOKKEEPING = tuple(
    name
    for name in contract.field_names(contract.ChatMessage)
    if name not in contract.field_names(contract.RoutedMessage)
)
_FAILURE_TEXTS = {
    FailureReason.NO_AGENT_ONLINE: "The message could not be routed: no agent is online.",
    FailureReason.ONLY_SENDER_ONLINE: (
        "The message could not be routed: its sender is the only agent online."
    ),
    FailureReason.RECEIVER_OFFLINE: (
        "The message could not be routed: the agent that it is for cannot receive it now."
    ),
    FailureReason.NO_CAPABLE_AGENT: (
        "The message could not be routed: no agent online has all capabilities that it requires."
    ),
}

_NULL = Raw(b"null")

_encode = msgspec.json.Encoder().encode


def encode_routed(message: ChatMessage, receiver_id: str) -> bytes:
    """Encode a chat message for its receiver: the server's bookkeeping goes, the rest stays."""
    fields: dict[str, object] = {**message.fields, "receiver_id": receiver_id}
    for name in _SERVER_BOOKKEEPING:
        fields.pop(name, None)
    if "routing_status" in fields:
        fields["routing_status"] = "routed"
    return _encode_for(message, fields)


def encode_routing_failure(
    message: ChatMessage,
    reason: FailureReason,
    message_id: str,
    held_seconds: float | None = None,
) -> bytes:
    """Encode the ERROR that tells the server that nobody can receive a chat message.

    Args:
        message_id: A fresh id for the ERROR itself.
        held_seconds: For how long the message was held, if it was.
    """
    original_id = message.fields.get("message_id", _NULL)
    failure = contract.RoutingFailure(
        message_type="ERROR",
        message_id=message_id,
        sender_id="BrokerService",
        receiver_id="Server",
        text_payload=_FAILURE_TEXTS[reason],
        reason=reason,
        routing_status="error",
        original_message_id=original_id,
        original_sender_id=message.sender_id,
        in_reply_to_message_id=original_id,
        held_seconds=UNSET if held_seconds is None else held_seconds,
        # Legacy servers find the client that waits for this message by it.
        client_id=message.fields.get("_client_id", UNSET),
    )
    return _encode_for(message, failure)


def encode_register_response(message: RegisterAgent) -> bytes:
    """Encode the answer to a REGISTER_AGENT."""
    response = contract.RegisterAgentResponse(
        "REGISTER_AGENT_RESPONSE",
        status="success",
        agent_id=message.agent_id,
        message="Agent registered successfully",
        client_id=UNSET if message.client_id is None else message.client_id,
    )
    return restore_lone_surrogates(_encode(response))


def encode_registry_event(event: RegistryEvent) -> bytes:
    """Encode what this broker learned by queue, for the others."""
    return _encode(_learned(event.change, *event.version))


def encode_register_broker(broker_name: str) -> str:
    """Encode the broker's registration with the central server."""
    return _encode(contract.RegisterBroker("REGISTER_BROKER", broker_name)).decode()


def encode_pong(broker_id: str) -> str:
    """Encode the answer to a PING or SERVER_HEARTBEAT."""
    return _encode(contract.Pong("PONG", broker_id)).decode()


def encode_request_agent_status(broker_id: str) -> str:
    """Encode the request for a fresh status update."""
    now = datetime.now(UTC).isoformat()
    return _encode(contract.RequestAgentStatus("REQUEST_AGENT_STATUS", broker_id, now)).decode()


def _encode_for(message: ChatMessage, sent: object) -> bytes:
    encoded = _encode(sent)
    return restore_lone_surrogates(encoded) if message.is_marked else encoded


def _learned(change: Change, changed_at: int, origin: str) -> Struct:
    match change:
        case RegisterAgent(agent_id=agent_id, agent_name=agent_name, capabilities=capabilities):
            return contract.AgentRegistered(
                message_type="AGENT_REGISTERED",
                agent_id=agent_id,
                agent_name=agent_name,
                capabilities=UNSET if capabilities is None else list(capabilities),
                changed_at=changed_at,
                origin=origin,
            )
        case ClientDisconnected(agent_id=agent_id):
            return contract.AgentDisconnected(
                message_type="AGENT_DISCONNECTED",
                agent_id=agent_id,
                changed_at=changed_at,
                origin=origin,
            )
        case ServerAvailable(server_id=server_id, websocket_url=websocket_url):
            return contract.ServerAdvertised(
                message_type="SERVER_ADVERTISED",
                server_id=server_id,
                websocket_url=websocket_url,
                changed_at=changed_at,
                origin=origin,
            )
        case AnswersSeen(answers=answers):
            return contract.AnswersSeen(
                message_type="ANSWERS_SEEN",
                answers=list(map(list, answers)),
                changed_at=changed_at,
                origin=origin,
            )
