"""Bytes to messages and back.

A body is checked once and taken apart only as far as routing needs: values
stay the bytes they arrived as (`msgspec.Raw`), so what the broker does not
know passes through exactly. No function here raises for a bad body; each
returns a `Rejected` that says why.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import accumulate

import msgspec
from msgspec.structs import replace

from broker.core.agent_ids import MAX_AGENT_ID_LENGTH, agent_name, is_agent_id
from broker.core.lone_surrogates import (
    mark_lone_surrogates,
    mask_lone_surrogates,
    restore_lone_surrogates,
    show_lone_surrogates,
)
from broker.core.messages import (
    UNKNOWN_SENDER,
    AgentError,
    ChatMessage,
    ClientDisconnected,
    Fields,
    RegisterAgent,
    RegistryEvent,
    Rejected,
    RejectReason,
    ServerAvailable,
)
from broker.core.policy import FailureReason
from broker.core.versions import Version

MAX_DEPTH = 128
"""Levels of arrays and objects a body may have: receivers recurse, and this many all can."""

_LARGEST_EXACT = 2**53

_BROKER_SENDER = "BrokerService"
_SERVER_RECEIVER = "Server"
_SERVER_BOOKKEEPING = ("_client_id", "_broadcast", "_target_agent_id")
_CHAT_TYPES = frozenset({"TEXT", "REPLY", "SYSTEM"})
_CHAT_STRINGS = (
    "message_id",
    "text_payload",
    "send_timestamp",
    "timestamp",
    "receiver_id",
    "in_reply_to_message_id",
    "in_reply_to",
)
_FAILURE_TEXTS = {
    FailureReason.NO_AGENT_ONLINE: "The message could not be routed: no agent is online.",
    FailureReason.ONLY_SENDER_ONLINE: (
        "The message could not be routed: its sender is the only agent online."
    ),
}

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_string: Callable[[msgspec.Raw], str | None] = msgspec.json.Decoder(str | None).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode

_LEVELS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""Brackets as signed bytes: one level more, one level fewer."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class _RejectedError(Exception):
    """Carries a `Rejected` from the place that found it to the function that returns it."""

    def __init__(self, reason: RejectReason, error: str) -> None:
        super().__init__(error)
        self.rejected = Rejected(reason, error)


def decode_input(body: bytes, max_bytes: int) -> ChatMessage | AgentError | Rejected:
    """Decode what agents send.

    Lone surrogates are no obstacle: what comes of the message has them as they came.

    Args:
        body: The AMQP body.
        max_bytes: The largest body accepted, in bytes.
    """
    message = _decode(body, max_bytes, _input_message)
    marked = _marked(body, message)
    if marked is None:
        return message
    message = _decode(marked, len(marked), _input_message)
    return replace(message, is_marked=True) if isinstance(message, ChatMessage) else message


def decode_metadata(body: bytes, max_bytes: int) -> RegisterAgent | ClientDisconnected | Rejected:
    """Decode what the server says of single agents. Arguments as for `decode_input`.

    A lone surrogate costs at most its own field, as in `decode_frame`.
    """
    message = _decode(body, max_bytes, _metadata_message)
    marked = _marked(body, message)
    return message if marked is None else _decode(marked, len(marked), _metadata_message)


def decode_advertisement(body: bytes, max_bytes: int) -> ServerAvailable | Rejected:
    """Decode what a server says of itself. Arguments as for `decode_metadata`."""
    message = _decode(body, max_bytes, _advertisement_message)
    marked = _marked(body, message)
    return message if marked is None else _decode(marked, len(marked), _advertisement_message)


def decode_registry_event(body: bytes, max_bytes: int) -> RegistryEvent | Rejected:
    """Decode what another broker learned by queue. Arguments as for `decode_input`."""
    return _decode(body, max_bytes, _registry_event)


def decode_frame(frame: str | bytes) -> tuple[str, Fields] | Rejected:
    """Decode a WebSocket frame, text or binary, to its `message_type` and fields.

    A lone surrogate in a string becomes a NUL, which no id may contain.
    """
    try:
        fields = _frame_fields(frame)
        return _message_type(fields), fields
    except _RejectedError as error:
        return error.rejected


def string_field(fields: Fields, name: str) -> str | None:
    """Return a field's value when it is a string, else None."""
    try:
        return _string(fields, name)
    except _RejectedError:
        return None


def encode_routed(message: ChatMessage, receiver_id: str) -> bytes:
    """Encode a chat message for its receiver: the server's bookkeeping goes, the rest stays."""
    fields: dict[str, object] = {**message.fields, "receiver_id": receiver_id}
    for name in _SERVER_BOOKKEEPING:
        fields.pop(name, None)
    if "routing_status" in fields:
        fields["routing_status"] = "routed"
    return _encode_for(message, fields)


def encode_routing_failure(message: ChatMessage, reason: FailureReason, message_id: str) -> bytes:
    """Encode the ERROR that tells the server that nobody can receive a chat message.

    Args:
        message: The message that could not be routed.
        reason: Why.
        message_id: A fresh id for the ERROR itself.
    """
    original_id = message.fields.get("message_id")
    failure = {
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
    return _encode_for(message, _with_client_id(failure, message.fields.get("_client_id")))


def _encode_for(message: ChatMessage, fields: Mapping[str, object]) -> bytes:
    encoded = _encode(fields)
    return restore_lone_surrogates(encoded) if message.is_marked else encoded


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


def _learned(change: RegisterAgent | ClientDisconnected | ServerAvailable) -> Mapping[str, object]:
    match change:
        case RegisterAgent(agent_id=agent_id, agent_name=name):
            return {"message_type": "AGENT_REGISTERED", "agent_id": agent_id, "agent_name": name}
        case ClientDisconnected(agent_id=agent_id):
            return {"message_type": "AGENT_DISCONNECTED", "agent_id": agent_id}
        case ServerAvailable(server_id=server_id, websocket_url=url):
            return {
                "message_type": "SERVER_ADVERTISED",
                "server_id": server_id,
                "websocket_url": url,
            }


def encode_register_broker(broker_name: str) -> str:
    """Encode the broker's registration with the central server."""
    return _encode({"message_type": "REGISTER_BROKER", "broker_name": broker_name}).decode()


def encode_pong(broker_id: str) -> str:
    """Encode the answer to a PING or SERVER_HEARTBEAT."""
    return _encode({"message_type": "PONG", "broker_id": broker_id}).decode()


def encode_request_agent_status(broker_id: str) -> str:
    """Encode the request for a fresh status update."""
    return _encode(
        {
            "message_type": "REQUEST_AGENT_STATUS",
            "sender_id": broker_id,
            "timestamp": datetime.now(UTC).isoformat(),
        }
    ).decode()


def _with_client_id(
    message: Mapping[str, object], client_id: msgspec.Raw | None
) -> Mapping[str, object]:
    # Legacy servers find the client that waits for this message by `_client_id`.
    return message if client_id is None else {**message, "_client_id": client_id}


def _decode[T](body: bytes, max_bytes: int, build: Callable[[str, Fields], T]) -> T | Rejected:
    try:
        fields = _checked_fields(body, max_bytes)
        return build(_message_type(fields), fields)
    except _RejectedError as error:
        return error.rejected


def _marked(body: bytes, decoded: object) -> bytes | None:
    """Return a body to decode in the place of one that may have failed for lone surrogates."""
    if isinstance(decoded, Rejected) and decoded.reason is RejectReason.INVALID_JSON:
        marked = mark_lone_surrogates(body)
        return marked if marked != body else None
    return None


def _checked_fields(body: bytes, max_bytes: int) -> Fields:
    if len(body) > max_bytes:
        raise _RejectedError(
            RejectReason.TOO_LARGE, f"the body has {len(body)} bytes, {max_bytes} are allowed"
        )
    try:
        # msgspec does not look at the UTF-8 inside of strings that it skips.
        body.decode()
    except UnicodeDecodeError as error:
        raise _RejectedError(
            RejectReason.INVALID_UTF8, f"the body is not UTF-8: {error.reason} at {error.start}"
        ) from error
    if _is_too_deep(body):
        raise _RejectedError(
            RejectReason.TOO_DEEP, f"the body is nested deeper than {MAX_DEPTH} levels"
        )
    return _parsed_fields(body)


def _parsed_fields(text: bytes | str) -> Fields:
    try:
        try:
            return _decode_fields(text)
        except msgspec.ValidationError:
            # Raised at the first byte of a list or number, before the rest was looked at.
            _decode_any(text)
            raise
    except msgspec.ValidationError as error:
        raise _RejectedError(RejectReason.NOT_AN_OBJECT, str(error)) from error
    except msgspec.DecodeError as error:
        raise _RejectedError(RejectReason.INVALID_JSON, str(error)) from error
    except RecursionError as error:
        raise _RejectedError(RejectReason.TOO_DEEP, str(error)) from error


def _frame_fields(frame: str | bytes) -> Fields:
    if isinstance(frame, bytes):
        try:
            frame.decode()
        except UnicodeDecodeError as error:
            raise _RejectedError(
                RejectReason.INVALID_UTF8, f"the binary frame is not UTF-8: {error.reason}"
            ) from error
    try:
        return _parsed_fields(frame)
    except _RejectedError as error:
        if error.rejected.reason is not RejectReason.INVALID_JSON:
            raise
        text = frame.encode() if isinstance(frame, str) else frame
        masked = mask_lone_surrogates(text)
        if masked == text:
            raise
    return _parsed_fields(masked)


def _is_too_deep(body: bytes) -> bool:
    # Almost every body has fewer brackets than levels are allowed, and two counts tell.
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    # Without escaped quotes, every other piece between quotes stands outside of a string.
    # What follows a syntax error may be measured wrong, but no decoder gets there.
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(unescaped.split(b'"')[::2])
    levels = memoryview(outside.translate(_LEVELS, _NOT_BRACKETS)).cast("b")
    return max(accumulate(levels), default=0) > MAX_DEPTH


def _message_type(fields: Fields) -> str:
    message_type = _string(fields, "message_type")
    if message_type is None:
        raise _RejectedError(RejectReason.MISSING_MESSAGE_TYPE, "`message_type` is missing")
    return message_type


def _input_message(message_type: str, fields: Fields) -> ChatMessage | AgentError:
    if message_type in _CHAT_TYPES:
        for name in _CHAT_STRINGS:
            _string(fields, name)
        sender_id = _string(fields, "sender_id")
        return ChatMessage(message_type, fields, UNKNOWN_SENDER if sender_id is None else sender_id)
    if message_type == "ERROR":
        return AgentError()
    raise _unsupported("TEXT, REPLY, SYSTEM and ERROR")


def _metadata_message(message_type: str, fields: Fields) -> RegisterAgent | ClientDisconnected:
    if message_type == "REGISTER_AGENT":
        _field(fields, "capabilities", tuple[str, ...])
        return RegisterAgent(
            agent_id=_id(fields, "agent_id"),
            agent_name=agent_name(_string(fields, "agent_name")),
            client_id=fields.get("_client_id"),
        )
    if message_type == "CLIENT_DISCONNECTED":
        return ClientDisconnected(_id(fields, "agent_id"))
    raise _unsupported("REGISTER_AGENT and CLIENT_DISCONNECTED")


def _advertisement_message(message_type: str, fields: Fields) -> ServerAvailable:
    if message_type == "SERVER_AVAILABLE":
        return _server(fields)
    raise _unsupported("SERVER_AVAILABLE")


def _registry_event(message_type: str, fields: Fields) -> RegistryEvent:
    change = _change(message_type, fields)
    return RegistryEvent(change, Version(_changed_at(fields), _id(fields, "origin")))


def _change(
    message_type: str, fields: Fields
) -> RegisterAgent | ClientDisconnected | ServerAvailable:
    match message_type:
        case "AGENT_REGISTERED":
            return RegisterAgent(_id(fields, "agent_id"), agent_name(_string(fields, "agent_name")))
        case "AGENT_DISCONNECTED":
            return ClientDisconnected(_id(fields, "agent_id"))
        case "SERVER_ADVERTISED":
            return _server(fields)
    raise _unsupported("AGENT_REGISTERED, AGENT_DISCONNECTED and SERVER_ADVERTISED")


def _server(fields: Fields) -> ServerAvailable:
    server_id, websocket_url = _string(fields, "server_id"), _string(fields, "websocket_url")
    # Shown to people, and connected to when it is a URL: a mark is none of either.
    return ServerAvailable(
        server_id=server_id and show_lone_surrogates(server_id),
        websocket_url=websocket_url and show_lone_surrogates(websocket_url),
    )


def _changed_at(fields: Fields) -> int:
    # JSON has one kind of numbers: 1.0 is as whole as 1, and not all who write it have a choice.
    at = _field(fields, "changed_at", float)
    # Numbers beyond that are not the same for all who read JSON.
    if at is None or not at.is_integer() or not 0 < at < _LARGEST_EXACT:
        raise _RejectedError(
            RejectReason.INVALID_FIELD,
            "`changed_at` must be a whole number of microseconds since 1970",
        )
    return int(at)


def _unsupported(supported: str) -> _RejectedError:
    return _RejectedError(
        RejectReason.UNSUPPORTED_MESSAGE_TYPE, f"this queue takes {supported}, nothing else"
    )


def _string(fields: Fields, name: str) -> str | None:
    """Decode one field that must be a string; null counts as missing."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return _decode_string(raw)
    except msgspec.ValidationError as error:
        raise _RejectedError(RejectReason.INVALID_FIELD, f"`{name}`: {error}") from error


def _field[T](fields: Fields, name: str, expected: type[T]) -> T | None:
    """Decode one field; null counts as missing."""
    raw = fields.get(name)
    # The JSON is checked already: only null starts with an n.
    if raw is None or memoryview(raw)[0] == ord("n"):
        return None
    try:
        return msgspec.json.decode(raw, type=expected)
    except msgspec.ValidationError as error:
        raise _RejectedError(RejectReason.INVALID_FIELD, f"`{name}`: {error}") from error


def _id(fields: Fields, name: str) -> str:
    text = _string(fields, name)
    if text is None or not is_agent_id(text):
        raise _RejectedError(
            RejectReason.INVALID_FIELD,
            f"`{name}` must be a string of 1 to {MAX_AGENT_ID_LENGTH} characters, "
            "none of them a control character",
        )
    return text
