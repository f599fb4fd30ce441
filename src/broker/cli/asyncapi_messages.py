"""The messages as they are on the wire, for the AsyncAPI document.

`broker.core.codec` decides what is accepted. These types say the same in a form from which a JSON
Schema can be made; the tests hold the two together. Fields that are not named here pass through.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH
from broker.core.capabilities import MAX_CAPABILITIES, MAX_CAPABILITY_LENGTH
from broker.core.messages import RejectReason
from broker.core.routing.failure import FailureReason

type _Text = str | UnsetType | None
type _Flag = bool | Literal[0, 1, "true", "false"]
type _Anything = Raw | UnsetType

_CONTROL_CHARACTERS = "[\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]"
type _AgentId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_AGENT_ID_LENGTH,
        extra_json_schema={"not": {"pattern": _CONTROL_CHARACTERS}},
    ),
]
type _Capability = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_CAPABILITY_LENGTH,
        extra_json_schema={"not": {"pattern": _CONTROL_CHARACTERS}},
    ),
]
type _Capabilities = (
    Annotated[list[_Capability], Meta(max_length=MAX_CAPABILITIES)] | UnsetType | None
)
type _Offered = Annotated[
    _Capabilities,
    Meta(description="What the agent can do from now on. When missing, the same as before."),
]
type _Answers = Annotated[
    _Anything,
    Meta(description="When a string, the message is an answer to the one with this id."),
]
# As draft 7 of JSON Schema, which AsyncAPI uses, has tuples.
type _Answer = Annotated[
    list[Any],
    Meta(
        min_length=3,
        max_length=3,
        extra_json_schema={"items": [{"type": "string"}, {"type": "string"}, {"type": "number"}]},
    ),
]
type _ClientId = Annotated[
    _Anything, Meta(description="The server's own; copied into what answers the message.")
]
type _Dropped = Annotated[_Anything, Meta(description="The server's own; dropped.")]
type _Time = Annotated[_Text, Meta(description="When it was sent; not interpreted.")]


class _Chat(Struct, kw_only=True):
    message_type: Literal["TEXT", "REPLY", "SYSTEM"]
    message_id: _Text = UNSET
    sender_id: Annotated[
        _Text, Meta(description="The agent that gets no copy of it; when missing, that is nobody.")
    ] = UNSET
    text_payload: _Text = UNSET
    send_timestamp: _Time = UNSET
    timestamp: _Time = UNSET
    in_reply_to_message_id: _Text = UNSET
    in_reply_to: _Text = UNSET
    conversation_id: Annotated[
        _Anything,
        Meta(
            description="When a string, the policy `consistent_hash` gives all messages with it to "
            "the same agent, instead of all messages of a sender."
        ),
    ] = UNSET
    required_capabilities: Annotated[
        _Capabilities, Meta(description="Only an agent that has all of them receives it.")
    ] = UNSET


class ChatMessage(
    _Chat,
    kw_only=True,
    rename={
        "client_id": "_client_id",
        "broadcast": "_broadcast",
        "target_agent_id": "_target_agent_id",
    },
):
    """A message that wants a receiver. Null counts as missing, for every field."""

    receiver_id: Annotated[
        _Text,
        Meta(
            description="The agent that it is for, which BROKER_RECEIVER lets the broker ignore "
            "(the default), prefer or require. Replaced by the agent chosen."
        ),
    ] = UNSET
    routing_status: Annotated[_Anything, Meta(description="Becomes `routed`.")] = UNSET
    client_id: _ClientId = UNSET
    broadcast: _Dropped = UNSET
    target_agent_id: _Dropped = UNSET


class AgentError(Struct):
    """An ERROR from an agent: forwarded byte for byte, never routed, never answered."""

    message_type: Literal["ERROR"]
    sender_id: _Anything = UNSET
    in_reply_to_message_id: _Answers = UNSET
    in_reply_to: _Answers = UNSET


class RegisterAgent(Struct, rename={"client_id": "_client_id"}):
    """An agent enters the registry, online."""

    message_type: Literal["REGISTER_AGENT"]
    agent_id: _AgentId
    agent_name: _Text = UNSET
    capabilities: _Offered = UNSET
    client_id: _ClientId = UNSET


class ClientDisconnected(Struct):
    """An agent went offline; its registration stays."""

    message_type: Literal["CLIENT_DISCONNECTED"]
    agent_id: _AgentId


class ServerAvailable(Struct):
    """A central server says where its WebSocket endpoint is."""

    message_type: Literal["SERVER_AVAILABLE"]
    server_id: _Text = UNSET
    websocket_url: _Text = UNSET
    timestamp: Annotated[_Anything, Meta(description="Not interpreted.")] = UNSET


class _RegistryEvent(Struct, kw_only=True):
    changed_at: Annotated[
        int,
        Meta(
            gt=0,
            lt=2**53,
            description="Microseconds since 1970, later than all that the broker had heard of.",
        ),
    ]
    origin: Annotated[
        _AgentId,
        Meta(description="Which broker; new with each of its starts. Decides between equal times."),
    ]


class AgentRegistered(_RegistryEvent, kw_only=True):
    """A broker has registered an agent, and tells the others."""

    message_type: Literal["AGENT_REGISTERED"]
    agent_id: _AgentId
    agent_name: _Text = UNSET
    capabilities: _Offered = UNSET


class AgentDisconnected(_RegistryEvent, kw_only=True):
    """A broker has taken an agent offline, and tells the others."""

    message_type: Literal["AGENT_DISCONNECTED"]
    agent_id: _AgentId


class ServerAdvertised(_RegistryEvent, kw_only=True):
    """A server has advertised itself to a broker, which tells the others."""

    message_type: Literal["SERVER_ADVERTISED"]
    server_id: _Text = UNSET
    websocket_url: _Text = UNSET


class AnswersSeen(_RegistryEvent, kw_only=True):
    """A broker has seen answers to messages that another one must have routed, and tells it."""

    message_type: Literal["ANSWERS_SEEN"]
    answers: Annotated[
        list[_Answer] | UnsetType | None,
        Meta(
            description="The agent that answered, the id of the message that it answered, and the "
            "seconds since the answer came."
        ),
    ] = UNSET


class RoutedMessage(_Chat, kw_only=True):
    """The chat message with its receiver: without the server's own fields, else as it was."""

    receiver_id: Annotated[str, Meta(description="The agent chosen.")]
    routing_status: Annotated[
        Literal["routed"] | UnsetType, Meta(description="Present when it was present before.")
    ] = UNSET


class RoutingFailure(Struct, rename={"client_id": "_client_id"}):
    """Nobody can receive a chat message."""

    message_type: Literal["ERROR"]
    message_id: Annotated[str, Meta(description="A new one.")]
    sender_id: Literal["BrokerService"]
    receiver_id: Literal["Server"]
    text_payload: Annotated[str, Meta(description="One sentence for a person.")]
    reason: FailureReason
    routing_status: Literal["error"]
    original_message_id: str | None
    original_sender_id: str
    in_reply_to_message_id: Annotated[
        str | None, Meta(description="The same as `original_message_id`.")
    ]
    held_seconds: Annotated[float, Meta(ge=0, description="BROKER_HOLD.")] | UnsetType = UNSET
    client_id: _ClientId = UNSET


class RegisterAgentResponse(Struct, rename={"client_id": "_client_id"}):
    """The answer to REGISTER_AGENT."""

    message_type: Literal["REGISTER_AGENT_RESPONSE"]
    status: Literal["success"]
    agent_id: _AgentId
    message: str
    client_id: _ClientId = UNSET


class DeadLetterHeaders(
    Struct,
    rename={
        "reason": "x-broker-reason",
        "error": "x-broker-error",
        "queue": "x-original-queue",
        "broker_id": "x-broker-id",
        "at": "x-dead-lettered-at",
        "added": "x-added-properties",
        "expiration": "x-original-expiration",
        "properties": "x-original-properties",
        "replays": "x-broker-replays",
    },
):
    """Why a message was dead-lettered: AMQP headers in addition to its own, which it keeps."""

    reason: RejectReason
    error: Annotated[str, Meta(description="One line for a person, at most 255 bytes.")]
    queue: Annotated[str, Meta(description="The queue it came from.")]
    broker_id: str
    at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    added: Annotated[
        str | UnsetType, Meta(description="AMQP properties it lacked; a replay removes them.")
    ] = UNSET
    expiration: Annotated[
        str | UnsetType, Meta(description="The AMQP property, by which the letter would vanish.")
    ] = UNSET
    properties: Annotated[
        bytes | UnsetType, Meta(description="AMQP properties that cannot be read; a byte array.")
    ] = UNSET
    replays: Annotated[str | UnsetType, Meta(description="How often it was replayed.")] = UNSET


class RegisterBroker(Struct):
    """The first message of the broker in a session."""

    message_type: Literal["REGISTER_BROKER"]
    broker_name: str


class RegisterBrokerResponse(Struct):
    """The server accepts the broker, or refuses it."""

    message_type: Literal["REGISTER_BROKER_RESPONSE"]
    status: Annotated[str, Meta(description="`success`; anything else is a refusal.")]
    broker_id: Annotated[
        _Text, Meta(description="What the broker calls itself from now on, at most 255 bytes.")
    ] = UNSET


class AgentEntry(Struct):
    """What the server says of one agent. An entry of another form is skipped and counted.

    An agent that it names stays as it was then.
    """

    agent_id: _AgentId
    agent_name: Annotated[_Text, Meta(description="When missing, Unknown Agent.")] = UNSET
    is_online: Annotated[
        _Flag | UnsetType | None,
        Meta(
            description="When missing, the agent is offline; but a full update must say it of one "
            "agent at least, if it names any. `1`, and `True` or `0` as text, are understood, "
            "too."
        ),
    ] = UNSET
    last_seen: Annotated[
        str | float | UnsetType | None, Meta(description="RFC 3339, or seconds since 1970.")
    ] = UNSET
    capabilities: _Offered = UNSET


class AgentStatusUpdate(Struct):
    """Who is online. It may come before the answer to the registration."""

    message_type: Literal["AGENT_STATUS_UPDATE"]
    agents: list[AgentEntry]
    is_full_update: Annotated[
        _Flag | UnsetType | None,
        Meta(description="Whether agents that are not named go offline; when missing, no."),
    ] = UNSET


class Ping(Struct):
    """Wants a PONG at once."""

    message_type: Literal["PING"]


class ServerHeartbeat(Struct):
    """Wants a PONG at once, too."""

    message_type: Literal["SERVER_HEARTBEAT"]


class ServerError(Struct):
    """Before the registration it is a refusal; afterwards it is logged."""

    message_type: Literal["ERROR"]


class Pong(Struct):
    """The broker is there."""

    message_type: Literal["PONG"]
    broker_id: str


class RequestAgentStatus(Struct):
    """The broker wants a full status update. A server that does not know it answers ERROR."""

    message_type: Literal["REQUEST_AGENT_STATUS"]
    sender_id: Annotated[str, Meta(description="The broker's id.")]
    timestamp: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
