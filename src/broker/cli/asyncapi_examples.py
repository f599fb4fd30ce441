"""An example of each message, for the AsyncAPI document."""

from broker.core import contract

_CHAT: dict[str, object] = {
    "message_type": "TEXT",
    "message_id": "m-1",
    "sender_id": "alice",
    "text_payload": "Is anybody there?",
    "send_timestamp": "2026-01-01T12:00:00Z",
    "conversation_id": "c-1",
    "required_capabilities": ["chat"],
}
_ALICE = {"agent_id": "alice", "agent_name": "Alice"}
_VERSION = {"changed_at": 1_767_268_800_000_000, "origin": "8f14e45fceea167a"}
_NOON = "2026-01-01T12:00:00+00:00"

EXAMPLES: dict[contract.Declaration, dict[str, object]] = {
    contract.ChatMessage: _CHAT,
    contract.AgentError: {
        "message_type": "ERROR",
        "sender_id": "alice",
        "text_payload": "I am lost.",
        "in_reply_to_message_id": "m-1",
    },
    contract.RegisterAgent: {"message_type": "REGISTER_AGENT", **_ALICE, "capabilities": ["chat"]},
    contract.ClientDisconnected: {"message_type": "CLIENT_DISCONNECTED", "agent_id": "alice"},
    contract.ServerAvailable: {
        "message_type": "SERVER_AVAILABLE",
        "server_id": "server-1",
        "websocket_url": "ws://server.example:8765/ws",
        "timestamp": _NOON,
    },
    contract.AgentRegistered: {
        "message_type": "AGENT_REGISTERED",
        **_ALICE,
        "capabilities": ["chat"],
        **_VERSION,
    },
    contract.AgentDisconnected: {
        "message_type": "AGENT_DISCONNECTED",
        "agent_id": "alice",
        **_VERSION,
    },
    contract.ServerAdvertised: {
        "message_type": "SERVER_ADVERTISED",
        "server_id": "server-1",
        "websocket_url": "ws://server.example:8765/ws",
        **_VERSION,
    },
    contract.AnswersSeen: {
        "message_type": "ANSWERS_SEEN",
        "answers": [["bob", "m-1", 0.25]],
        **_VERSION,
    },
    contract.RoutedMessage: {**_CHAT, "receiver_id": "bob"},
    contract.RoutingFailure: {
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
    contract.RegisterAgentResponse: {
        "message_type": "REGISTER_AGENT_RESPONSE",
        "status": "success",
        "agent_id": "alice",
        "message": "Agent registered successfully",
    },
    contract.RegisterBroker: {"message_type": "REGISTER_BROKER", "broker_name": "BrokerService"},
    contract.RegisterBrokerResponse: {
        "message_type": "REGISTER_BROKER_RESPONSE",
        "status": "success",
        "broker_id": "broker-1",
    },
    contract.AgentStatusUpdate: {
        "message_type": "AGENT_STATUS_UPDATE",
        "agents": [{**_ALICE, "is_online": True, "last_seen": _NOON, "capabilities": ["chat"]}],
        "is_full_update": True,
    },
    contract.Ping: {"message_type": "PING"},
    contract.ServerHeartbeat: {"message_type": "SERVER_HEARTBEAT"},
    contract.ServerError: {"message_type": "ERROR", "text_payload": "unsupported message type"},
    contract.Pong: {"message_type": "PONG", "broker_id": "broker-1"},
    contract.RequestAgentStatus: {
        "message_type": "REQUEST_AGENT_STATUS",
        "sender_id": "broker-1",
        "timestamp": _NOON,
    },
}
"""A payload of each message."""
