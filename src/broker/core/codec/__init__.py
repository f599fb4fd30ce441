"""Bytes to messages and back."""

from broker.core.codec.decoding import (
    decode_advertisement,
    decode_frame,
    decode_input,
    decode_metadata,
    decode_registry_event,
)
from broker.core.codec.encoding import (
    encode_pong,
    encode_register_broker,
    encode_register_response,
    encode_registry_event,
    encode_request_agent_status,
    encode_routed,
    encode_routing_failure,
)
from broker.core.codec.fields import MAX_DEPTH, string_field
from broker.core.codec.sender import sender_of

__all__ = [
    "MAX_DEPTH",
    "decode_advertisement",
    "decode_frame",
    "decode_input",
    "decode_metadata",
    "decode_registry_event",
    "encode_pong",
    "encode_register_broker",
    "encode_register_response",
    "encode_registry_event",
    "encode_request_agent_status",
    "encode_routed",
    "encode_routing_failure",
    "sender_of",
    "string_field",
]
