"""An example of each message, for the AsyncAPI document."""

from msgspec import Struct

from broker.cli.asyncapi_messages import (
    AgentDisconnected,
    AgentError,
    AgentRegistered,
    AgentStatusUpdate,
    ChatMessage,
    ClientDisconnected,
    Ping,
    Pong,
    RegisterAgent,
    RegisterAgentResponse,
    RegisterBroker,
    RegisterBrokerResponse,
    RequestAgentStatus,
    RoutedMessage,
    RoutingFailure,
    ServerAdvertised,
    ServerAvailable,
    ServerError,
    ServerHeartbeat,
)

_CHAT: dict[str, object] = {
    "message_type": "TEXT",
    "message_id": "m-1",
    "sender_id": "alice",
    "text_payload": "Is anybody there?",
    "send_timestamp": "2026-01-01T12:00:00Z",
}
_ALICE = {"agent_id": "alice", "agent_name": "Alice"}
_VERSION = {"changed_at": 1_767_268_800_000_000, "origin": "8f14e45fceea167a"}
_NOON = "2026-01-01T12:00:00+00:00"

EXAMPLES: dict[type[Struct], dict[str, object]] = {
    ChatMessage: _CHAT,
    AgentError: {"message_type": "ERROR", "sender_id": "alice", "text_payload": "I am lost."},
    RegisterAgent: {"message_type": "REGISTER_AGENT", **_ALICE, "capabilities": ["chat"]},
    ClientDisconnected: {"message_type": "CLIENT_DISCONNECTED", "agent_id": "alice"},
    ServerAvailable: {
        "message_type": "SERVER_AVAILABLE",
        "server_id": "server-1",
        "websocket_url": "ws://server.example:8765/ws",
        "timestamp": _NOON,
    },
    AgentRegistered: {"message_type": "AGENT_REGISTERED", **_ALICE, **_VERSION},
    AgentDisconnected: {
        "message_type": "AGENT_DISCONNECTED",
        "agent_id": "alice",
        **_VERSION,
    },
    ServerAdvertised: {
        "message_type": "SERVER_ADVERTISED",
        "server_id": "server-1",
        "websocket_url": "ws://server.example:8765/ws",
        **_VERSION,
    },
    RoutedMessage: {**_CHAT, "receiver_id": "bob"},
    RoutingFailure: {
        "message_type": "ERROR",
        "message_id": "e-1",
        "sender_id": "BrokerService",
        "receiver_id": "Server",
        "text_payload": "The message could not be routed: no agent is online.",
        "reason": "no_agent_online",
        "routing_status": "error",
        "original_message_id": "m-1",
        "original_sender_id": "alice",
        "in_reply_to_message_id": "m-1",
    },
    RegisterAgentResponse: {
        "message_type": "REGISTER_AGENT_RESPONSE",
        "status": "success",
        "agent_id": "alice",
        "message": "Agent registered successfully",
    },
    RegisterBroker: {"message_type": "REGISTER_BROKER", "broker_name": "BrokerService"},
    RegisterBrokerResponse: {
        "message_type": "REGISTER_BROKER_RESPONSE",
        "status": "success",
        "broker_id": "broker-1",
    },
    AgentStatusUpdate: {
        "message_type": "AGENT_STATUS_UPDATE",
        "agents": [{**_ALICE, "is_online": True, "last_seen": _NOON}],
        "is_full_update": True,
    },
    Ping: {"message_type": "PING"},
    ServerHeartbeat: {"message_type": "SERVER_HEARTBEAT"},
    ServerError: {"message_type": "ERROR", "text_payload": "unsupported message type"},
    Pong: {"message_type": "PONG", "broker_id": "broker-1"},
    RequestAgentStatus: {
        "message_type": "REQUEST_AGENT_STATUS",
        "sender_id": "broker-1",
        "timestamp": _NOON,
    },
}
"""A payload of each message."""
