"""Messages to bytes."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from broker.core.lone_surrogates import restore_lone_surrogates
from broker.core.messages import (
    AnswersSeen,
    ChatMessage,
    ClientDisconnected,
    RegisterAgent,
    RegistryEvent,
    ServerAvailable,
)
from broker.core.routing.failure import FailureReason

_BROKER_SENDER = "BrokerService"
_SERVER_RECEIVER = "Server"
_SERVER_BOOKKEEPING = ("_client_id", "_broadcast", "_target_agent_id")
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
    original_id = message.fields.get("message_id")
    failure: dict[str, object] = {
        "message_type": "ERROR",
        "message_id": message_id,
        "sender_id": _BROKER_SENDER,
        "receiver_id": _SERVER_RECEIVER,
        "text_payload": _FAILURE_TEXTS[reason],
        "reason": reason.value,
        "routing_status": "error",
        "original_message_id": original_id,
        "original_sender_id": message.sender_id,
        "in_reply_to_message_id": original_id,
    }
    if held_seconds is not None:
        failure["held_seconds"] = held_seconds
    return _encode_for(message, _with_client_id(failure, message.fields.get("_client_id")))


def encode_register_response(message: RegisterAgent) -> bytes:
    """Encode the answer to a REGISTER_AGENT."""
    response = {
        "message_type": "REGISTER_AGENT_RESPONSE",
        "status": "success",
        "agent_id": message.agent_id,
        "message": "Agent registered successfully",
    }
    return restore_lone_surrogates(_encode(_with_client_id(response, message.client_id)))


def encode_registry_event(event: RegistryEvent) -> bytes:
    """Encode what this broker learned by queue, for the others."""
    at, origin = event.version
    return _encode({**_learned(event.change), "changed_at": at, "origin": origin})


def encode_register_broker(broker_name: str) -> str:
    """Encode the broker's registration with the central server."""
    return _encode({"message_type": "REGISTER_BROKER", "broker_name": broker_name}).decode()


def encode_pong(broker_id: str) -> str:
    """Encode the answer to a PING or SERVER_HEARTBEAT."""
    return _encode({"message_type": "PONG", "broker_id": broker_id}).decode()


def encode_request_agent_status(broker_id: str) -> str:
    """Encode the request for a fresh status update."""
    now = datetime.now(UTC).isoformat()
    request = {"message_type": "REQUEST_AGENT_STATUS", "sender_id": broker_id, "timestamp": now}
    return _encode(request).decode()


def _encode_for(message: ChatMessage, fields: Mapping[str, object]) -> bytes:
    encoded = _encode(fields)
    return restore_lone_surrogates(encoded) if message.is_marked else encoded


def _learned(
    change: RegisterAgent | ClientDisconnected | ServerAvailable | AnswersSeen,
) -> Mapping[str, object]:
    match change:
        case RegisterAgent(agent_id=agent_id, agent_name=name, capabilities=capabilities):
            known = {} if capabilities is None else {"capabilities": capabilities}
            kind = "AGENT_REGISTERED"
            return {"message_type": kind, "agent_id": agent_id, "agent_name": name, **known}
        case ClientDisconnected(agent_id=agent_id):
            return {"message_type": "AGENT_DISCONNECTED", "agent_id": agent_id}
        case ServerAvailable(server_id=server_id, websocket_url=url):
            kind = "SERVER_ADVERTISED"
            return {"message_type": kind, "server_id": server_id, "websocket_url": url}
        case AnswersSeen(answers=answers):
            return {"message_type": "ANSWERS_SEEN", "answers": answers}


def _with_client_id(
    message: Mapping[str, object], client_id: msgspec.Raw | None
) -> Mapping[str, object]:
    # Legacy servers find the client that waits for this message by `_client_id`.
    return message if client_id is None else {**message, "_client_id": client_id}
