"""Each message as it is on the wire, declared once.

`broker.core.codec` takes from here which fields it decodes and how, and what it writes. The
AsyncAPI document and the tables in docs/protocol.md are made from the same declarations. Fields
that are not declared pass through.
"""

from broker.core.contract.agents import ClientDisconnected, RegisterAgent, RegisterAgentResponse
from broker.core.contract.chat import AgentError, ChatMessage, RoutedMessage, RoutingFailure
from broker.core.contract.declaration import (
    Declaration,
    declared_fields,
    field_names,
    message_types,
)
from broker.core.contract.replication import (
    AgentDisconnected,
    AgentRegistered,
    AnswersSeen,
    ServerAdvertised,
)
from broker.core.contract.server import (
    AgentEntry,
    AgentStatusUpdate,
    Ping,
    Pong,
    RegisterBroker,
    RegisterBrokerResponse,
    RequestAgentStatus,
    ServerAvailable,
    ServerError,
    ServerHeartbeat,
)

__all__ = [
    "AgentDisconnected",
    "AgentEntry",
    "AgentError",
    "AgentRegistered",
    "AgentStatusUpdate",
    "AnswersSeen",
    "ChatMessage",
    "ClientDisconnected",
    "Declaration",
    "Ping",
    "Pong",
    "RegisterAgent",
    "RegisterAgentResponse",
    "RegisterBroker",
    "RegisterBrokerResponse",
    "RequestAgentStatus",
    "RoutedMessage",
    "RoutingFailure",
    "ServerAdvertised",
    "ServerAvailable",
    "ServerError",
    "ServerHeartbeat",
    "declared_fields",
    "field_names",
    "message_types",
]
