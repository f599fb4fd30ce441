"""What is read of the AMQP properties of a message."""

import struct
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.wire.properties import Properties, decode_properties
from tests.lab import raw_content


def marshalled(properties: Basic.Properties) -> bytes:
    return ContentHeader(properties=properties).marshal()[12:]


short_strings = st.text(max_size=60)


@given(short_strings, short_strings, short_strings, short_strings)
def test_reads_what_pamqp_writes(
    traceparent: str, tracestate: str, correlation_id: str, message_id: str
) -> None:
    data = marshalled(
        Basic.Properties(
            headers={"traceparent": traceparent, "tracestate": tracestate, "CC": ["q"], "n": 1},
            correlation_id=correlation_id,
            message_id=message_id,
            timestamp=datetime.now(UTC),
            user_id="guest",
            reply_to="somebody",
            priority=5,
        )
    )
    assert decode_properties(data) == Properties(
        {"traceparent": traceparent, "tracestate": tracestate},
        # pamqp writes no empty property.
        correlation_id or None,
        message_id or None,
        priority=5,
        raw=data,
    )


@given(st.binary(max_size=200))
@example(raw_content.header_table(b"h", raw_content.nested_table(15_000)))
@example(b"\xff" * 30)
def test_reads_what_pamqp_reads_and_never_raises(data: bytes) -> None:
    header = ContentHeader()
    decoded = decode_properties(data)
    assert decoded.raw == data
    if decoded.error is not None:
        assert decoded == Properties(error=decoded.error, raw=data)
        return
    try:
        header.unmarshal(bytes(12) + data)
    except Exception:  # noqa: BLE001 - what it cannot represent, and nobody here uses
        return
    assert decoded.correlation_id == header.properties.correlation_id
    assert decoded.message_id == header.properties.message_id


SHORT_STRINGS = {15: "content_type", 14: "content_encoding", 9: "reply_to", 5: "type", 3: "app_id"}
UNUSED = {
    **{
        f"{name} that is not UTF-8": raw_content.flags(1 << bit) + b"\x02\xff\xfe"
        for bit, name in SHORT_STRINGS.items()
    },
    "a timestamp in microseconds": raw_content.flags(1 << 6) + struct.pack(">Q", 17 * 10**14),
    "a timestamp beyond all years": raw_content.flags(1 << 6) + b"\xff" * 8,
    "headers nested 15,000 deep": raw_content.header_table(b"h", raw_content.nested_table(15_000)),
    "a nested table that is none": raw_content.header_table(b"h", b"F\0\0\0\x01\xff"),
    "a name that is not UTF-8": raw_content.header_table(b"\xff", b"I\0\0\0\x01"),
    "a name without a letter": raw_content.header_table(b"", b"V"),
    "a time as a header": raw_content.header_table(b"h", b"T" + b"\xff" * 8),
    "a text that is not UTF-8": raw_content.header_table(b"h", raw_content.long(b"\xff")),
    "a decimal of any scale": raw_content.header_table(b"h", b"D" + b"\xff" * 5),
    "a float that is no number": raw_content.header_table(b"h", b"d" + b"\xff" * 8),
    "bytes": raw_content.header_table(b"h", b"x\0\0\0\x01\xff"),
}


@pytest.mark.parametrize("data", UNUSED.values(), ids=UNUSED)
def test_what_nobody_uses_is_not_judged(data: bytes) -> None:
    assert decode_properties(data) == Properties(raw=data)


@pytest.mark.parametrize("octet", "tbBsuIilLfdDTVSxAF")
def test_every_type_of_header_is_skipped(octet: str) -> None:
    sizes = {**dict.fromkeys("V", 0), **dict.fromkeys("tbB", 1), **dict.fromkeys("su", 2)}
    sizes |= {**dict.fromkeys("Iif", 4), "D": 5, **dict.fromkeys("lLdT", 8)}
    value = b"\xff" * sizes[octet] if octet in sizes else b"\0\0\0\x02\xff\xff"
    last = raw_content.short(b"traceparent") + raw_content.long(b"t")
    data = raw_content.header_table(b"h", octet.encode() + value + last)
    assert decode_properties(data) == Properties({"traceparent": "t"}, raw=data)


@pytest.mark.parametrize(
    "table",
    [
        raw_content.header_table(b"h", b"?"),
        raw_content.header_table(b"h", b""),
        raw_content.header_table(b"h", b"I\0\0\0"),
        raw_content.header_table(b"h", b"S\0\0\0"),
        raw_content.header_table(b"h", b"S\0\0\0\x01"),
        raw_content.header_table(b"h", b"F\xff\xff\xff\xff"),
        raw_content.header_table(b"h", b"V\x05abc"),
    ],
)
def test_headers_whose_structure_cannot_be_read(table: bytes) -> None:
    error = decode_properties(table).error
    assert error is not None
    assert error.startswith("the AMQP properties cannot be read: ")


def test_what_is_used_and_makes_no_sense_is_absent() -> None:
    for bit in (10, 8, 7):
        data = raw_content.flags(1 << bit) + raw_content.short(b"\xff")
        assert decode_properties(data) == Properties(raw=data)
    data = raw_content.header_table(b"traceparent", raw_content.long(b"\xff"))
    assert decode_properties(data) == Properties(raw=data)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        *((said, said) for said in ("0", "60000", "4294967296", "315360000000", "007", "+5")),
        *((said, None) for said in ("", "-1", " 5", "5 ", "1.5", "1e3", "315360000001", "\u0663")),
        ("9" * 255, None),
        ("0" * 20 + "5", None),
    ],
)
def test_only_an_expiration_that_rabbitmq_takes(said: str, taken: str | None) -> None:
    data = raw_content.flags(1 << 8) + raw_content.short(said.encode())
    assert decode_properties(data) == Properties(expiration=taken, raw=data)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (b"b\x05", 5),
        (b"B\xff", 255),
        (b"s\0\x05", 5),
        (b"u\xff\xff", 65_535),
        (b"I\0\0\0\x05", 5),
        (b"i\xff\xff\xff\xff", 4_294_967_295),
        (b"l" + struct.pack(">q", 20), 20),
        (b"L" + struct.pack(">q", 20), 20),
        (b"l" + struct.pack(">q", -20), 0),
        (b"t\x01", 0),
        (b"V", 0),
        (raw_content.long(b"5"), 0),
        (b"d" + struct.pack(">d", 5), 0),
    ],
)
def test_how_often_a_quorum_queue_had_it_returned(value: bytes, count: int) -> None:
    data = raw_content.header_table(b"x-delivery-count", value)
    assert decode_properties(data) == Properties(delivery_count=count, raw=data)


@pytest.mark.parametrize("value", [5, None, ["a"], {"a": 1}, "x" * 1025, "é" * 513, True])
def test_a_header_that_is_no_short_text_does_not_pass(value: object) -> None:
    properties = Basic.Properties(headers={"traceparent": value, "tracestate": "kept"})  # type: ignore[dict-item]
    assert decode_properties(marshalled(properties)).headers == {"tracestate": "kept"}


def test_the_longest_header_that_passes() -> None:
    longest = Basic.Properties(headers={"traceparent": "x" * 1024})
    assert decode_properties(marshalled(longest)).headers == longest.headers


@pytest.mark.parametrize(
    ("said", "count"),
    [
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("999999", 999_999),
        ("1000000", 0),
        ("", 0),
        ("-1", 0),
        ("1\n", 0),
        ("²", 0),
        ("٣", 0),
        ("1e3", 0),
        (3, 0),
        (True, 0),
        (None, 0),
        (["1"], 0),
        ({"a": "1"}, 0),
    ],
)
def test_the_count_of_replays(said: Any, count: int) -> None:
    data = marshalled(Basic.Properties(headers={"x-broker-replays": said}))
    # It does not pass to what comes of the message, unless that is a dead letter.
    assert decode_properties(data) == Properties(replays=count, raw=data)


def test_what_was_decoded_before_is_decoded_alike() -> None:
    assert decode_properties(b"\0\0") == decode_properties(b"\0\0") == Properties()
