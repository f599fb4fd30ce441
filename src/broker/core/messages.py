"""The messages that the broker understands, as validated values; `broker.core.codec` makes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

import msgspec

from broker.core.versions import Version

MAX_BODY_BYTES = 134_217_728
"""The largest body that RabbitMQ takes, unless it is configured to take less."""

UNKNOWN_SENDER = "unknown"
"""Stands for a missing `sender_id`. No agent carries it, so it excludes nobody."""

UNKNOWN_AGENT_NAME = "Unknown Agent"

MAX_MESSAGE_ID_LENGTH = 255
"""Characters. Messages with longer ids are routed, but not remembered: that bounds the memory."""

_decode_text = msgspec.json.Decoder(str | None).decode

type Fields = Mapping[str, msgspec.Raw]
"""A JSON object whose values stay the bytes they arrived as."""


class RejectReason(StrEnum):
    """Why a delivery went to the dead-letter queue. These codes are stable."""

    INVALID_JSON = "invalid_json"
    INVALID_UTF8 = "invalid_utf8"
    NOT_AN_OBJECT = "not_an_object"
    MISSING_MESSAGE_TYPE = "missing_message_type"
    UNSUPPORTED_MESSAGE_TYPE = "unsupported_message_type"
    INVALID_FIELD = "invalid_field"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    INVALID_PROPERTIES = "invalid_properties"
    TOO_MANY_HOPS = "too_many_hops"
    REGISTRY_FULL = "registry_full"
    UNROUTABLE = "unroutable"
    POLICY_ERROR = "policy_error"
    INTERNAL_ERROR = "internal_error"


class Rejected(msgspec.Struct, frozen=True):
    """A body that cannot be processed, and why."""

    reason: RejectReason
    error: str  # one line for a person, which never quotes the body


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """A TEXT, REPLY or SYSTEM message that wants a receiver."""

    message_type: str
    fields: Fields
    sender_id: str  # or `UNKNOWN_SENDER`
    is_marked: bool = False  # whether marks of `lone_surrogates` stand in it
    receiver_id: str | None = None
    required_capabilities: tuple[str, ...] = ()

    def text(self, name: str) -> str | None:
        """Return the value of any field that is a string, else None."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        try:
            text: str | None = _decode_text(raw)
        except msgspec.ValidationError:  # the JSON is right, but it is a number or more
            return None
        return text

    @property
    def in_reply_to(self) -> str | None:
        """The id of the message that it answers."""
        return self.text("in_reply_to_message_id") or self.text("in_reply_to")


class AgentError(msgspec.Struct, frozen=True):
    """An ERROR from an agent: forwarded as it is, never routed, never answered."""

    sender_id: str | None = None
    in_reply_to: str | None = None


class RegisterAgent(msgspec.Struct, frozen=True):
    """An agent enters the registry, online."""

    agent_id: str
    agent_name: str
    client_id: msgspec.Raw | None = None
    capabilities: tuple[str, ...] | None = None  # None says nothing of them


class ClientDisconnected(msgspec.Struct, frozen=True):
    """An agent went offline; its registration stays."""

    agent_id: str


class ServerAvailable(msgspec.Struct, frozen=True):
    """A central server advertises where its WebSocket endpoint is."""

    server_id: str | None = None
    websocket_url: str | None = None


class Answer(NamedTuple):
    """An agent has answered a message."""

    agent_id: str
    message_id: str  # of the message that was routed to the agent
    age: float = 0.0  # seconds since the answer came


class AnswersSeen(msgspec.Struct, frozen=True):
    """Answers to messages that another broker must have routed."""

    answers: Sequence[Answer] = ()


type Change = RegisterAgent | ClientDisconnected | ServerAvailable | AnswersSeen
"""What a broker learns by queue."""


class RegistryEvent(msgspec.Struct, frozen=True):
    """What one of several brokers learned by queue, told to the others."""

    change: Change
    version: Version


class AgentStatus(msgspec.Struct, frozen=True, gc=False):
    """What the central server says of one agent."""

    agent_id: str
    agent_name: str = UNKNOWN_AGENT_NAME
    is_online: bool = False
    last_seen: datetime | None = None
    capabilities: tuple[str, ...] | None = None  # None says nothing of them


class StatusUpdate(msgspec.Struct, frozen=True):
    """What the central server says of many agents."""

    agents: Mapping[str, AgentStatus]
    is_full: bool = False  # then agents that are not named go offline
    skipped: int = 0  # unusable entries
    unclear: frozenset[str] = frozenset()  # named without a status to understand: they stay as is


class BrokerRegistered(msgspec.Struct, frozen=True):
    """The central server has accepted the broker and named it."""

    broker_id: str


class ServerLost(msgspec.Struct, frozen=True):
    """The session with the central server is over."""


type ServerNews = StatusUpdate | BrokerRegistered | ServerLost
"""What the router must know of the central server, in the order in which it happened."""
