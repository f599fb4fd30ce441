"""Bytes to messages.

A body is checked once and taken apart only as far as routing needs, so what the broker does not
know passes through exactly. No function here raises for a bad body; each returns a `Rejected` that
says why.
"""

from collections.abc import Callable

from msgspec.structs import replace

from broker.core.agent_ids import agent_name
from broker.core.codec.fields import (
    RejectedError,
    checked_fields,
    decode_capabilities,
    decode_field,
    decode_id,
    decode_string,
    message_type_of,
    parsed_fields,
    string_field,
)
from broker.core.lone_surrogates import (
    mark_lone_surrogates,
    mask_lone_surrogates,
    show_lone_surrogates,
)
from broker.core.messages import (
    UNKNOWN_SENDER,
    AgentError,
    Answer,
    AnswersSeen,
    ChatMessage,
    ClientDisconnected,
    Fields,
    RegisterAgent,
    RegistryEvent,
    Rejected,
    RejectReason,
    ServerAvailable,
)
from broker.core.versions import Version

_LARGEST_EXACT = 2**53

_CHAT_TYPES = frozenset({"TEXT", "REPLY", "SYSTEM"})
_CHAT_STRINGS = (
    "message_id",
    "text_payload",
    "send_timestamp",
    "timestamp",
    "in_reply_to_message_id",
    "in_reply_to",
)


def decode_input(body: bytes, max_bytes: int) -> ChatMessage | AgentError | Rejected:
    """Decode what agents send; lone surrogates leave the message as they came.

    Args:
        max_bytes: The largest body accepted.
    """
    message, is_marked = _decode_marking(body, max_bytes, _input_message)
    if is_marked and isinstance(message, ChatMessage):
        return replace(message, is_marked=True)
    return message


def decode_metadata(body: bytes, max_bytes: int) -> RegisterAgent | ClientDisconnected | Rejected:
    """Decode what the server says of single agents.

    A lone surrogate costs at most its own field, as in `decode_frame`.
    """
    return _decode_marking(body, max_bytes, _metadata_message)[0]


def decode_advertisement(body: bytes, max_bytes: int) -> ServerAvailable | Rejected:
    """Decode what a server says of itself."""
    return _decode_marking(body, max_bytes, _advertisement_message)[0]


def decode_registry_event(body: bytes, max_bytes: int) -> RegistryEvent | Rejected:
    """Decode what another broker learned by queue."""
    return _decode(body, max_bytes, _registry_event)


def decode_frame(frame: str | bytes) -> tuple[str, Fields] | Rejected:
    """Decode a WebSocket frame, text or binary, to its `message_type` and fields.

    A lone surrogate in a string becomes a NUL, which no id may contain.
    """
    try:
        fields = _frame_fields(frame)
        return message_type_of(fields), fields
    except RejectedError as error:
        return error.rejected


def _decode[T](body: bytes, max_bytes: int, build: Callable[[str, Fields], T]) -> T | Rejected:
    try:
        fields = checked_fields(body, max_bytes)
        return build(message_type_of(fields), fields)
    except RejectedError as error:
        return error.rejected


def _decode_marking[T](
    body: bytes, max_bytes: int, build: Callable[[str, Fields], T]
) -> tuple[T | Rejected, bool]:
    """Decode; if that fails, once more with lone surrogates marked. Return whether they are."""
    decoded = _decode(body, max_bytes, build)
    if isinstance(decoded, Rejected) and decoded.reason is RejectReason.INVALID_JSON:
        marked = mark_lone_surrogates(body)
        if marked != body:
            return _decode(marked, len(marked), build), True
    return decoded, False


def _frame_fields(frame: str | bytes) -> Fields:
    if isinstance(frame, bytes):
        try:
            frame.decode()
        except UnicodeDecodeError as error:
            problem = f"the binary frame is not UTF-8: {error.reason}"
            raise RejectedError(RejectReason.INVALID_UTF8, problem) from error
    try:
        return parsed_fields(frame)
    except RejectedError as error:
        text = frame.encode() if isinstance(frame, str) else frame
        masked = mask_lone_surrogates(text)
        if error.rejected.reason is not RejectReason.INVALID_JSON or masked == text:
            raise
    return parsed_fields(masked)


def _input_message(message_type: str, fields: Fields) -> ChatMessage | AgentError:
    if message_type in _CHAT_TYPES:
        for name in _CHAT_STRINGS:
            decode_string(fields, name)
        sender_id = decode_string(fields, "sender_id")
        return ChatMessage(
            message_type,
            fields,
            UNKNOWN_SENDER if sender_id is None else sender_id,
            receiver_id=decode_string(fields, "receiver_id"),
            required_capabilities=decode_capabilities(fields, "required_capabilities") or (),
        )
    if message_type == "ERROR":
        return AgentError(
            string_field(fields, "sender_id"),
            string_field(fields, "in_reply_to_message_id") or string_field(fields, "in_reply_to"),
        )
    raise _unsupported("TEXT, REPLY, SYSTEM and ERROR")


def _metadata_message(message_type: str, fields: Fields) -> RegisterAgent | ClientDisconnected:
    if message_type == "REGISTER_AGENT":
        return RegisterAgent(
            agent_id=decode_id(fields, "agent_id"),
            agent_name=agent_name(decode_string(fields, "agent_name")),
            client_id=fields.get("_client_id"),
            capabilities=decode_capabilities(fields, "capabilities"),
        )
    if message_type == "CLIENT_DISCONNECTED":
        return ClientDisconnected(decode_id(fields, "agent_id"))
    raise _unsupported("REGISTER_AGENT and CLIENT_DISCONNECTED")


def _advertisement_message(message_type: str, fields: Fields) -> ServerAvailable:
    if message_type == "SERVER_AVAILABLE":
        return _server(fields)
    raise _unsupported("SERVER_AVAILABLE")


def _registry_event(message_type: str, fields: Fields) -> RegistryEvent:
    change = _change(message_type, fields)
    return RegistryEvent(change, Version(_changed_at(fields), decode_id(fields, "origin")))


def _change(
    message_type: str, fields: Fields
) -> RegisterAgent | ClientDisconnected | ServerAvailable | AnswersSeen:
    match message_type:
        case "AGENT_REGISTERED":
            return RegisterAgent(
                decode_id(fields, "agent_id"),
                agent_name(decode_string(fields, "agent_name")),
                capabilities=decode_capabilities(fields, "capabilities"),
            )
        case "AGENT_DISCONNECTED":
            return ClientDisconnected(decode_id(fields, "agent_id"))
        case "SERVER_ADVERTISED":
            return _server(fields)
        case "ANSWERS_SEEN":
            answers = decode_field(fields, "answers", list[tuple[str, str, float]]) or ()
            return AnswersSeen([Answer(*answer) for answer in answers])
    raise _unsupported("AGENT_REGISTERED, AGENT_DISCONNECTED, SERVER_ADVERTISED and ANSWERS_SEEN")


def _server(fields: Fields) -> ServerAvailable:
    # Shown to people, and connected to when it is a URL: a mark is none of either.
    server_id, url = (
        text and show_lone_surrogates(text)
        for text in (decode_string(fields, name) for name in ("server_id", "websocket_url"))
    )
    return ServerAvailable(server_id, url)


def _changed_at(fields: Fields) -> int:
    # JSON has one kind of numbers: 1.0 is as whole as 1, and not all who write it have a choice.
    at = decode_field(fields, "changed_at", float)
    # Numbers beyond that are not the same for all who read JSON.
    if at is None or not at.is_integer() or not 0 < at < _LARGEST_EXACT:
        error = "`changed_at` must be a whole number of microseconds since 1970"
        raise RejectedError(RejectReason.INVALID_FIELD, error)
    return int(at)


def _unsupported(supported: str) -> RejectedError:
    error = f"this queue takes {supported}, nothing else"
    return RejectedError(RejectReason.UNSUPPORTED_MESSAGE_TYPE, error)
