"""What agents send, and what becomes of it."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from broker.core.contract.kinds import Anything, Capabilities, Text, TextIfAny
from broker.core.routing.failure import FailureReason

type _Time = Annotated[Text, Meta(description="When it was sent; not interpreted.")]
type _Dropped = Annotated[Anything, Meta(description="The server's own; dropped.")]
type _Answered = Annotated[
    TextIfAny,
    Meta(description="When a string, the message is an answer to the one with this id."),
]
type ClientId = Annotated[
    Anything, Meta(description="The server's own; copied into what answers the message.")
]


class _Chat(Struct, kw_only=True):
    message_type: Literal["TEXT", "REPLY", "SYSTEM"]
    message_id: Annotated[
        Text, Meta(description="Names it, for answers; the same in each repeat of it.")
    ] = UNSET
    sender_id: Annotated[
        Text, Meta(description="The agent that never receives it; when missing, that is nobody.")
    ] = UNSET
    text_payload: Annotated[Text, Meta(description="What it says.")] = UNSET
    send_timestamp: _Time = UNSET
    timestamp: _Time = UNSET
    in_reply_to_message_id: Annotated[
        Text, Meta(description="The message is an answer to the one with this id.")
    ] = UNSET
    in_reply_to: Annotated[
        Text, Meta(description="The same, where `in_reply_to_message_id` is missing.")
    ] = UNSET
    conversation_id: Annotated[
        Anything,
        Meta(
            description="When a string, the policy `consistent_hash` gives all messages with it to "
            "the same agent, instead of all messages of a sender."
        ),
    ] = UNSET
    required_capabilities: Annotated[
        Capabilities, Meta(description="Only an agent that has all of them receives it.")
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
        Text,
        Meta(
            description="The agent that it is for, which BROKER_RECEIVER lets the broker ignore "
            "(the default), prefer or require. Replaced by the agent chosen."
        ),
    ] = UNSET
    routing_status: Annotated[Anything, Meta(description="Becomes `routed`.")] = UNSET
    client_id: ClientId = UNSET
    broadcast: _Dropped = UNSET
    target_agent_id: _Dropped = UNSET


class RoutedMessage(_Chat, kw_only=True):
    """The chat message with its receiver: without the server's own fields, else as it was."""

    receiver_id: Annotated[str, Meta(description="The agent chosen.")]
    routing_status: Annotated[
        Literal["routed"] | UnsetType, Meta(description="Present when it was present before.")
    ] = UNSET


class AgentError(Struct):
    """An ERROR from an agent: forwarded byte for byte, never routed, never answered."""

    message_type: Literal["ERROR"]
    sender_id: TextIfAny = UNSET
    in_reply_to_message_id: _Answered = UNSET
    in_reply_to: _Answered = UNSET


# A string or null: the bytes of `message_id` as they came.
type _MessageId = Annotated[Raw, Meta(extra_json_schema={"type": ["string", "null"]})]


class RoutingFailure(Struct, kw_only=True, rename={"client_id": "_client_id"}):
    """Nobody can receive a chat message."""

    message_type: Literal["ERROR"]
    message_id: Annotated[str, Meta(description="A new one.")]
    sender_id: Literal["BrokerService"]
    receiver_id: Literal["Server"]
    text_payload: Annotated[str, Meta(description="One sentence for a person.")]
    reason: Annotated[FailureReason, Meta(description="Why, for programs. These codes stay.")]
    routing_status: Literal["error"]
    original_message_id: Annotated[
        _MessageId, Meta(description="The `message_id` of the chat message; null without one.")
    ]
    original_sender_id: Annotated[str, Meta(description="Its sender; `unknown` without one.")]
    in_reply_to_message_id: Annotated[
        _MessageId, Meta(description="The same as `original_message_id`.")
    ]
    held_seconds: (
        Annotated[float, Meta(ge=0, description="How long it was held, with BROKER_HOLD.")]
        | UnsetType
    ) = UNSET
    client_id: ClientId = UNSET
