"""The catalogue of messages made to hurt: what must be dead-lettered, and what only looks like it.

A contract, and not a copy of what the broker does: each reason is the one that it promises.
"""

import struct
from collections.abc import Iterator, Mapping

import msgspec

from tests.faults import chat
from tests.lab.raw_content import (
    FLAG_DELIVERY_MODE,
    FLAG_HEADERS,
    FLAG_TIMESTAMP,
    PERSISTENT,
    Content,
    array,
    flags,
    header_table,
    long,
    nested_table,
    short,
)

MAX_BYTES = 1_048_576
"""The largest body that is accepted."""
MAX_DEPTH = 128
"""Levels of arrays and objects that are accepted."""
_FIELDS = (
    *("message_id", "sender_id", "text_payload", "send_timestamp", "timestamp", "receiver_id"),
    *("in_reply_to_message_id", "in_reply_to"),
)
_NOT_STRINGS = (b"5", b"[]", b"{}", b"true", b"1.5")
_CONTROL_CHARACTERS = (rb"\u0000", rb"\n", rb"\u001b[2J", rb"\u007f", rb"\u2028")


class Poison(msgspec.Struct, frozen=True):
    name: str
    reason: str
    content: Content


class Oddity(msgspec.Struct, frozen=True):
    """A message that looks dangerous, and must be routed.

    Attributes:
        fields: What it must be routed with, as raw JSON by field; without its receiver.
    """

    name: str
    content: Content
    fields: Mapping[str, bytes]


def input_poison(mark: int) -> Iterator[Poison]:
    """Return what must be dead-lettered when it comes to the input queue.

    Args:
        mark: Makes all bodies differ from those with another mark. They grow with it.
    """
    yield from _marked(_any_body(), mark)
    yield from _marked(_chat_bodies(), mark)


def metadata_poison(mark: int) -> Iterator[Poison]:
    """Return what must be dead-lettered when it comes to the metadata queue. As `input_poison`."""
    yield from _marked(_any_body(), mark)
    yield from _marked(_metadata_bodies(), mark)


def advertisement_poison(mark: int) -> Iterator[Poison]:
    """Return what must be dead-lettered when it comes to the advertisements. As `input_poison`."""
    yield from _marked(_any_body(), mark)
    yield from _marked(_advertisement_bodies(), mark)


def oddities(first: int, victim: str) -> Iterator[Oddity]:
    """Return messages that look dangerous, and must be routed."""
    number = first
    for name, field, value in _odd_values():
        body = chat.body(number)[:-1] + b", " + field + b": " + value + b"}"
        key = msgspec.json.decode(field, type=str)
        yield Oddity(name, Content(body), {**chat.routed_fields(number), key: value})
        number += 1
    for name, properties in _odd_properties(victim.encode()):
        content = Content(chat.body(number), properties, routing_key=b"anything")
        yield Oddity(name, content, chat.routed_fields(number))
        number += 1
    for routing_key in (b"", b"\0 \x1b", "ü".encode() * 127, b"\xff\xfe"):
        content = Content(chat.body(number), routing_key=routing_key)
        yield Oddity("an odd routing key", content, chat.routed_fields(number))
        number += 1


def _marked(bodies: Iterator[tuple[str, str, bytes]], mark: int) -> Iterator[Poison]:
    for name, reason, body in bodies:
        # Space at the end neither mends anything nor does it more harm.
        yield Poison(name, reason, Content(body + b" " * mark))


def _text(*fields: bytes) -> bytes:
    return b"{" + b", ".join([b'"message_type": "TEXT", "sender_id": "agent-00"', *fields]) + b"}"


def _any_body() -> Iterator[tuple[str, str, bytes]]:
    sound = _text(b'"text_payload": "t"')
    yield "empty", "invalid_json", b""
    yield "no JSON", "invalid_json", b"hello"
    yield "truncated", "invalid_json", sound[:-1]
    yield "truncated in a string", "invalid_json", sound[:-3]
    yield "two objects", "invalid_json", sound + sound
    yield "a comma too many", "invalid_json", _text(b'"a": [1,]')
    yield "single quotes", "invalid_json", b"{'message_type': 'TEXT'}"
    yield "a comment", "invalid_json", sound + b" // sound"
    yield "a control character in a string", "invalid_json", _text(b'"a": "\x01"')
    yield "an unknown escape", "invalid_json", _text(rb'"a": "\x41"')
    yield "byte order mark", "invalid_json", b"\xef\xbb\xbf" + sound
    yield "UTF-16", "invalid_utf8", sound.decode().encode("utf-16")
    yield "UTF-16 without a byte order mark", "invalid_json", sound.decode().encode("utf-16-le")
    yield "UTF-32", "invalid_utf8", sound.decode().encode("utf-32")
    yield "Latin-1", "invalid_utf8", _text('"a": "ü"'.encode("latin-1"))
    yield "random bytes", "invalid_utf8", bytes(range(255, 127, -1))
    yield "an overlong encoding", "invalid_utf8", _text(b'"a": "\xc0\xaf"')
    yield "a lone surrogate as bytes", "invalid_utf8", _text(b'"a": "\xed\xa0\x80"')
    for number in (b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b".5", b"1.", b"0x10"):
        yield f"the number {number.decode()}", "invalid_json", _text(b'"a": ' + number)
    for value in (b"[]", b"[" + sound + b"]", b'"TEXT"', b"5", b"1e999", b"true", b"null"):
        yield f"not an object: {value[:9].decode()}", "not_an_object", value
    yield "an array 10,000 deep", "too_deep", _text(b'"a": ' + b"[" * 10_000 + b"]" * 10_000)
    yield "objects 10,000 deep", "too_deep", b'{"a": ' * 10_000 + b"5" + b"}" * 10_000
    yield "10,000 brackets", "too_deep", b"[" * 10_000
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    yield "one level too deep", "too_deep", _text(b'"a": ' + deep)
    yield "no type", "missing_message_type", b'{"sender_id": "agent-00"}'
    yield "nothing at all", "missing_message_type", b"{}"
    yield "null as a type", "missing_message_type", b'{"message_type": null}'
    for value in _NOT_STRINGS:
        name = f"a type that is {value.decode()}"
        yield name, "invalid_field", b'{"message_type": ' + value + b"}"
    yield "another type at last", "invalid_field", _text(b'"message_type": 5')
    for message_type in (b"", b"text", b"TEXT ", b"PING", b"x" * 100_000):
        name = f"the type {message_type[:9].decode()!r}"
        yield name, "unsupported_message_type", b'{"message_type": "' + message_type + b'"}'
    yield "too large by a byte", "too_large", _text(b'"a": "%s"' % (b"x" * MAX_BYTES))
    yield "too large, and no JSON", "too_large", b"\xff" * (MAX_BYTES + 1)


def _chat_bodies() -> Iterator[tuple[str, str, bytes]]:
    yield "another queue's type", "unsupported_message_type", _registration(b'"a"')
    for field in _FIELDS:
        for value in _NOT_STRINGS:
            name = f"{field} that is {value.decode()}"
            yield name, "invalid_field", _text(b'"%s": %s' % (field.encode(), value))


def _metadata_bodies() -> Iterator[tuple[str, str, bytes]]:
    yield "another queue's type", "unsupported_message_type", _text()
    for kind in (b"REGISTER_AGENT", b"CLIENT_DISCONNECTED"):
        where = f" in {kind.decode()}"
        yield "no agent" + where, "invalid_field", b'{"message_type": "%s"}' % kind
        for value in (*_NOT_STRINGS, b"null", b'""'):
            name = f"an agent that is {value.decode()}" + where
            yield name, "invalid_field", _registration(value, kind=kind)
        for character in _CONTROL_CHARACTERS:
            name = f"an agent with {character.decode()}" + where
            yield name, "invalid_field", _registration(b'"a%s"' % character, kind=kind)
        long_id = b'"%s"' % (b"a" * 10_000)
        yield "a long agent" + where, "invalid_field", _registration(long_id, kind=kind)
    for value in _NOT_STRINGS:
        name = f"an agent_name that is {value.decode()}"
        body = _registration(b'"poisoned"', b', "agent_name": ' + value)
        yield name, "invalid_field", body
    for value in (b"5", b"{}", b'"a"', b"[5]", b"[null]", b'["a", []]'):
        name = f"capabilities that are {value.decode()}"
        body = _registration(b'"poisoned"', b', "capabilities": ' + value)
        yield name, "invalid_field", body


def _advertisement_bodies() -> Iterator[tuple[str, str, bytes]]:
    yield "another queue's type", "unsupported_message_type", _text()
    for field in (b"server_id", b"websocket_url"):
        for value in _NOT_STRINGS:
            body = b'{"message_type": "SERVER_AVAILABLE", "%s": %s}' % (field, value)
            yield f"{field.decode()} that is {value.decode()}", "invalid_field", body


def _registration(agent: bytes, more: bytes = b"", *, kind: bytes = b"REGISTER_AGENT") -> bytes:
    return b'{"message_type": "%s", "agent_id": %s%s}' % (kind, agent, more)


def _odd_values() -> Iterator[tuple[str, bytes, bytes]]:
    """Return names, fields and values that must pass through as they are."""
    yield "an integer of 5,000 digits", b'"odd"', b"9" * 5_000
    yield "a negative one", b'"odd"', b"-" + b"9" * 5_000
    yield "a number that no float can hold", b'"odd"', b"1e999"
    yield "a float with 5,000 digits", b'"odd"', b"0." + b"3" * 5_000
    yield "minus zero", b'"odd"', b"-0"
    yield "as deep as allowed", b'"odd"', b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    yield "many brackets, none of them deep", b'"odd"', b"[" + b"[]," * 5_000 + b"[]]"
    yield "brackets in a string", b'"odd"', b'"' + rb"[{\"\\" * 5_000 + b'"'
    yield "half as large as allowed", b'"odd"', b'"' + b"x" * (MAX_BYTES // 2) + b'"'
    yield "duplicate keys", b'"text_payload"', b'"the last one wins"'
    yield "duplicate keys of an unknown field", b'"a"', b'{"b": 1, "b": 2}'
    yield "NUL and escapes", b'"text_payload"', rb'"\u0000\u001b[2J\u2028\r\n"'
    yield "all planes", b'"text_payload"', rb'"\ud83d\ude80\uffff\udbff\udfff"'
    yield "half an emoji", b'"text_payload"', rb'"A\ud83d"'
    yield "the other half of it", b'"text_payload"', rb'"\uDE00A"'
    yield "both halves in the wrong order", b'"odd"', rb'"\ude00\ud83d"'
    yield "half an emoji in keys and values", b'"odd"', rb'{"\ud83d": ["\udc00", "\\ud83d"]}'
    yield "an empty key", b'""', b"[]"
    yield "a prototype", b'"__proto__"', b'{"isAdmin": true}'
    yield "null for an optional field", b'"in_reply_to"', b"null"
    yield "a formula", b'"text_payload"', b"\"=cmd|' /C calc'!A0\""


def _odd_properties(victim: bytes) -> Iterator[tuple[str, bytes]]:
    """Return properties that are sound, and that nobody must follow or copy."""
    copies = array(long(victim), long(victim))
    yield "CC", header_table(b"CC", copies)
    yield "BCC", header_table(b"BCC", copies)
    yield "user_id", flags(1 << 4) + short(b"guest")
    yield "reply_to", flags(1 << 9) + short(victim)
    yield "expiration", flags(1 << 8) + short(b"3600000")
    yield "the highest priority", flags(1 << 11) + b"\xff"
    yield "not persistent", flags(FLAG_DELIVERY_MODE) + b"\x01"
    yield "the longest correlation_id", flags(1 << 10) + short(b"x" * 255)
    yield "a forged reason", header_table(b"x-broker-reason", long(b"invalid_json"))
    yield "a forged death", header_table(b"x-death", array(nested_table(1)))
    yield "headers of 50,000 bytes", header_table(b"h", long(b"x" * 50_000))
    yield "nested headers", header_table(b"h", nested_table(50))
    yield "headers nested 15,000 deep", header_table(b"h", nested_table(15_000))
    yield "a timestamp of long ago", flags(FLAG_TIMESTAMP) + struct.pack(">Q", 0)
    yield "a timestamp in microseconds", flags(FLAG_TIMESTAMP) + struct.pack(">Q", 17 * 10**14)
    yield "a timestamp beyond all years", flags(FLAG_TIMESTAMP) + b"\xff" * 8
    yield "a header beyond all years", header_table(b"h", b"T" + b"\xff" * 8)
    yield "a decimal of any scale", header_table(b"h", b"D" + b"\xff" * 5)
    yield "a header that is not UTF-8", header_table(b"h", long(b"\xff\xfe"))
    yield "a header key that is not UTF-8", header_table(b"\xff\xfe", b"I\0\0\0\x01")
    strings = {15: "content_type", 14: "content_encoding", 10: "correlation_id", 9: "reply_to"}
    strings |= {7: "message_id", 5: "type", 3: "app_id", 2: "cluster_id"}
    for bit, name in strings.items():
        yield f"{name} that is not UTF-8", flags(1 << bit) + short(b"\xff\xfe\xfa")
    yield "a traceparent that is no text", header_table(b"traceparent", b"I\0\0\0\x01")
    yield "a traceparent of 10,000 bytes", header_table(b"traceparent", long(b"x" * 10_000))
    # Whoever passes it on, with properties of its own, has more than a frame may hold.
    yield "a tracestate as large as a frame", header_table(b"tracestate", long(b"x" * 131_000))
    yield "a delivery with no properties", flags(0)
    yield "an ordinary one", PERSISTENT
    yield "no headers in headers", flags(FLAG_HEADERS) + struct.pack(">I", 0)
