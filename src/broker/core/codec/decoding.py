"""Bytes to messages.

A body is checked once and taken apart only as far as routing needs, so what the broker does not
know passes through exactly. No function here raises for a bad body; each returns a `Rejected` that
says why.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw, ValidationError
from msgspec.json import Decoder
from msgspec.structs import replace

from broker.core import contract
from broker.core.agent_ids import agent_name
from broker.core.codec.declared import Declared
from broker.core.codec.fields import (
    RejectedError,
    checked_fields,
    message_type_of,
    parsed_fields,
)
from broker.core.lone_surrogates import (
    mark_lone_surrogates,
    mask_lone_surrogates,
    show_lone_surrogates,
)
from broker.core.messages import (
    UNKNOWN_SENDER,
    AgentError,
    AnswersSeen,
    Change,
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


def decode_input(body: bytes, max_bytes: int) -> ChatMessage | AgentError | Rejected:
    """Decode what agents send; lone surrogates leave the message as they came.

    Args:
        max_bytes: The largest body accepted.
    """
    message = _decode(body, max_bytes, _input_message)
    if isinstance(message, Rejected):
        message = _decode_marked(body, message, _input_message)
        if isinstance(message, ChatMessage):
            return replace(message, is_marked=True)
    return message


def decode_metadata(body: bytes, max_bytes: int) -> RegisterAgent | ClientDisconnected | Rejected:
    """Decode what the server says of single agents.

    A lone surrogate costs at most its own field, as in `decode_frame`.
    """
    message = _decode(body, max_bytes, _metadata_message)
    if isinstance(message, Rejected):
        return _decode_marked(body, message, _metadata_message)
    return message


def decode_advertisement(body: bytes, max_bytes: int) -> ServerAvailable | Rejected:
    """Decode what a server says of itself."""
    message = _decode(body, max_bytes, _advertisement_message)
    if isinstance(message, Rejected):
        return _decode_marked(body, message, _advertisement_message)
    return message


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


def _decode[T](body: bytes, max_bytes: int, build: Callable[[bytes, Fields], T]) -> T | Rejected:
    try:
        return build(body, checked_fields(body, max_bytes))
    except RejectedError as error:
        return error.rejected


def _decode_marked[T](
    body: bytes, rejected: Rejected, build: Callable[[bytes, Fields], T]
) -> T | Rejected:
    """Decode what was rejected with its lone surrogates marked, if it has any."""
    if rejected.reason is RejectReason.INVALID_JSON:
        marked = mark_lone_surrogates(body)
        if marked != body:
            return _decode(marked, len(marked), build)
    return rejected


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


def _input_message(body: bytes, fields: Fields) -> ChatMessage | AgentError:
    # Almost every message is a chat message as it is declared. Reading the body a second time, all
    # of these fields at once, costs a third of decoding them one by one.
    try:
        said = _read_chat(body)
    except ValidationError:
        return _input_by_fields(fields)
    if said.required_capabilities:
        return _input_by_fields(fields)
    return ChatMessage(
        said.message_type,
        fields,
        said.sender_id if isinstance(said.sender_id, str) else UNKNOWN_SENDER,
        receiver_id=said.receiver_id if isinstance(said.receiver_id, str) else None,
    )


def _input_by_fields(fields: Fields) -> ChatMessage | AgentError:
    """Decode field by field, which says what is wrong with one."""
    message_type = message_type_of(fields)
    if message_type in _CHAT.types:
        values = _CHAT.decode(fields)
        sender_id = values.get("sender_id")
        return ChatMessage(
            message_type,
            fields,
            UNKNOWN_SENDER if sender_id is None else sender_id,
            receiver_id=values.get("receiver_id"),
            required_capabilities=values.get("required_capabilities") or (),
        )
    if message_type in _ERROR.types:
        values = _ERROR.decode(fields)
        answered = values.get("in_reply_to_message_id") or values.get("in_reply_to")
        return AgentError(values.get("sender_id"), answered)
    raise _unsupported(_CHAT, _ERROR)


def _metadata_message(_: bytes, fields: Fields) -> RegisterAgent | ClientDisconnected:
    message_type = message_type_of(fields)
    if message_type in _REGISTER.types:
        return _registration(_REGISTER.decode(fields), fields.get("_client_id"))
    if message_type in _DISCONNECTED.types:
        return ClientDisconnected(**_DISCONNECTED.decode(fields))
    raise _unsupported(_REGISTER, _DISCONNECTED)


def _advertisement_message(_: bytes, fields: Fields) -> ServerAvailable:
    if message_type_of(fields) in _AVAILABLE.types:
        return _server(_AVAILABLE.decode(fields))
    raise _unsupported(_AVAILABLE)


def _registry_event(_: bytes, fields: Fields) -> RegistryEvent:
    message_type = message_type_of(fields)
    for declared, change in _CHANGES.items():
        if message_type in declared.types:
            values = declared.decode(fields)
            version = Version(values.pop("changed_at"), values.pop("origin"))
            return RegistryEvent(change(values), version)
    raise _unsupported(*_CHANGES)


def _registration(values: dict[str, Any], client_id: Raw | None = None) -> RegisterAgent:
    name = agent_name(values.pop("agent_name", None))
    return RegisterAgent(agent_name=name, client_id=client_id, **values)


def _server(values: dict[str, Any]) -> ServerAvailable:
    # Shown to people, and connected to when it is a URL: a mark is none of either.
    return ServerAvailable(
        **{name: text and show_lone_surrogates(text) for name, text in values.items()}
    )


def _unsupported(*supported: Declared) -> RejectedError:
    *some, last = (message_type for declared in supported for message_type in declared.types)
    named = f"{', '.join(some)} and {last}" if some else last
    error = f"this queue takes {named}, nothing else"
    return RejectedError(RejectReason.UNSUPPORTED_MESSAGE_TYPE, error)


_read_chat = Decoder(contract.ChatMessage).decode
_CHAT = Declared(contract.ChatMessage)
_ERROR = Declared(contract.AgentError)
_REGISTER = Declared(contract.RegisterAgent)
_DISCONNECTED = Declared(contract.ClientDisconnected)
_AVAILABLE = Declared(contract.ServerAvailable)
_CHANGES: Mapping[Declared, Callable[[dict[str, Any]], Change]] = {
    Declared(contract.AgentRegistered): _registration,
    Declared(contract.AgentDisconnected): lambda values: ClientDisconnected(**values),
    Declared(contract.ServerAdvertised): _server,
    Declared(contract.AnswersSeen): lambda values: AnswersSeen(**values),
}
