"""Bodies from the input queue: what is accepted leaves as the same message for its receiver."""

from msgspec.json import encode

from broker.core.codec import decode_input, encode_routed, encode_routing_failure
from broker.core.lone_surrogates import restore_lone_surrogates
from broker.core.messages import UNKNOWN_SENDER, AgentError, ChatMessage, Rejected
from broker.core.routing.failure import FailureReason
from tests.fuzz.bodies import MAX_BYTES, check_rejection, parsed, text_field
from tests.fuzz.json_oracle import Json, parse

_RECEIVER = 'agent "ü"'
_BOOKKEEPING = ("_client_id", "_broadcast", "_target_agent_id")
_STRINGS = ("message_id", "text_payload", "send_timestamp", "timestamp", "in_reply_to")


def check(body: bytes) -> None:
    message = decode_input(body, MAX_BYTES)
    match message:
        case Rejected():
            check_rejection(body, message)
        case AgentError():
            assert parsed(body)["message_type"] == "ERROR"
        case ChatMessage():
            fields = parsed(body)
            assert fields["message_type"] in {"TEXT", "REPLY", "SYSTEM"}
            for name in _STRINGS:
                text_field(fields, name)
            sender_id = text_field(fields, "sender_id")
            assert _unmarked(message) == (UNKNOWN_SENDER if sender_id is None else sender_id)
            _check_routed(message, fields)
            _check_failure(message, fields)


def _check_routed(message: ChatMessage, fields: dict[str, Json]) -> None:
    expected = {name: value for name, value in fields.items() if name not in _BOOKKEEPING}
    expected["receiver_id"] = _RECEIVER
    if "routing_status" in fields:
        expected["routing_status"] = "routed"
    assert _parsed(encode_routed(message, _RECEIVER)) == expected


def _check_failure(message: ChatMessage, fields: dict[str, Json]) -> None:
    failure = _parsed(encode_routing_failure(message, FailureReason.NO_AGENT_ONLINE, "id"))
    original_id = fields.get("message_id")
    assert failure["message_type"] == "ERROR"
    assert failure["original_message_id"] == failure["in_reply_to_message_id"] == original_id
    assert failure["original_sender_id"] == _unmarked(message)
    assert failure.get("_client_id") == fields.get("_client_id")


def _unmarked(message: ChatMessage) -> Json:
    quoted = encode(message.sender_id)
    return parse((restore_lone_surrogates(quoted) if message.is_marked else quoted).decode())


def _parsed(encoded: bytes) -> dict[str, Json]:
    value = parse(encoded.decode())
    assert isinstance(value, dict)
    return value
