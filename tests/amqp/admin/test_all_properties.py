"""All AMQP properties of a message, decoded to be inspected."""

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.admin.all_properties import AllProperties, decode_all_properties
from broker.amqp.wire.properties import decode_properties
from tests.lab import raw_content

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def marshalled(**properties: Any) -> bytes:
    return ContentHeader(properties=Basic.Properties(**properties)).marshal()[12:]


values = st.recursive(
    st.text(max_size=20)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.none()
    | st.just(AT)
    | st.floats(allow_nan=False, width=32)
    | st.binary(max_size=20).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
)


@given(st.dictionaries(st.text(max_size=30), values, max_size=5), st.text(min_size=1, max_size=60))
def test_reads_what_pamqp_writes(headers: dict[str, Any], correlation_id: str) -> None:
    data = marshalled(headers=headers, correlation_id=correlation_id, timestamp=AT, priority=5)
    properties = {"priority": 5, "correlation_id": correlation_id, "timestamp": AT}
    assert decode_all_properties(data) == AllProperties(headers, properties)


@given(st.binary(max_size=200))
@example(raw_content.header_table(b"h", raw_content.nested_table(15_000)))
def test_both_ways_of_decoding_fail_alike_and_never_raise(data: bytes) -> None:
    assert decode_all_properties(data).error == decode_properties(data).error


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"T" + struct.pack(">Q", 17 * 10**14), 17 * 10**14),
        (b"T" + b"\xff" * 8, 2**64 - 1),
        (raw_content.long(b"\xff"), b"\xff"),
        (b"D\x02" + struct.pack(">I", 12345), Decimal("123.45")),
        (b"f" + struct.pack(">f", 0.5), 0.5),
        (b"x\0\0\0\x01a", b"a"),
        (b"F\0\0\0\x01\xff", b"\0\0\0\x01\xff"),
        (b"A\0\0\0\x01?", b"\0\0\0\x01?"),
        (raw_content.array(b"V", b"t\x02"), [None, True]),
    ],
)
def test_what_python_has_no_value_for_stays_a_number_or_bytes(value: bytes, shown: object) -> None:
    data = raw_content.header_table(b"h\xff", value)
    assert decode_all_properties(data) == AllProperties({"h\\xff": shown})


def test_what_nests_deep_is_decoded_to_some_depth() -> None:
    found: Any = decode_all_properties(
        raw_content.header_table(b"h", raw_content.nested_table(15_000))
    ).headers["h"]
    depth = 0
    while isinstance(found, dict):
        (found,) = found.values()
        depth += 1
    assert depth == 20
    assert isinstance(found, bytes)


def test_texts_that_are_not_utf_8() -> None:
    data = raw_content.flags(1 << 9) + raw_content.short(b"\xff")
    assert decode_all_properties(data) == AllProperties({}, {"reply_to": b"\xff"})
