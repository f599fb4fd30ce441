"""Flags and properties, taken apart and put together again."""

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.wire.field_table import UnreadablePropertiesError, text_value
from broker.amqp.wire.raw_properties import (
    NO_PROPERTIES,
    edit_headers,
    join_properties,
    short_string,
    split_properties,
)
from tests.lab import raw_content

NAMES = st.text(max_size=20)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            (
                *("content_type", "content_encoding", "correlation_id", "reply_to", "expiration"),
                *("message_id", "message_type", "app_id"),
            ),
            NAMES,
        ),
        "headers": st.dictionaries(NAMES, NAMES),
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "timestamp": st.integers(0, 1 << 31).map(lambda at: datetime.fromtimestamp(at, UTC)),
    },
)


def marshalled(**properties: object) -> bytes:
    header = ContentHeader(0, 0, Basic.Properties(**properties))  # type: ignore[arg-type]
    return header.marshal()[12:]


@given(PROPERTIES)
def test_what_is_split_and_joined_is_the_same(properties: dict[str, object]) -> None:
    data = marshalled(**properties)
    assert join_properties(split_properties(data)) == data


@given(st.binary(max_size=200))
def test_what_can_be_read_is_put_together_again(data: bytes) -> None:
    try:
        properties = split_properties(data)
    except UnreadablePropertiesError:
        return
    (flags,) = struct.unpack_from(">H", data)
    # RabbitMQ, too, ignores the two flags that name no property.
    assert join_properties(properties) == struct.pack(">H", flags & ~3) + data[2:]


def test_properties_by_name() -> None:
    data = marshalled(content_type="text/plain", priority=9, message_id="m", user_id="u")
    assert split_properties(data) == {
        "content_type": b"\x0atext/plain",
        "priority": b"\x09",
        "message_id": b"\x01m",
        "user_id": b"\x01u",
    }
    assert split_properties(NO_PROPERTIES) == {}
    assert join_properties({}) == NO_PROPERTIES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00",
        raw_content.flags(1 << 7),
        raw_content.flags(1 << 7) + b"\x05abc",
        raw_content.flags(1 << 11),
        raw_content.flags(1 << 6) + bytes(7),
        raw_content.flags(1 << 13) + bytes(3),
        raw_content.flags(1 << 13) + struct.pack(">I", 1),
        raw_content.flags(1 << 13) + b"\xff" * 4,
    ],
)
def test_what_ends_too_early_or_too_late(data: bytes) -> None:
    with pytest.raises(UnreadablePropertiesError):
        split_properties(data)


headers = st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers(0, 9), max_size=6)


@given(headers, st.lists(st.text(max_size=8)), st.dictionaries(st.text(max_size=8), st.text()))
def test_headers_are_edited_as_a_mapping_would_be(
    before: dict[str, str | int], drop: list[str], add: dict[str, str]
) -> None:
    data = marshalled(headers=before, message_id="m")
    properties = split_properties(data)
    edit_headers(properties, drop=drop, add=add)
    after = {name: value for name, value in before.items() if name not in drop} | add
    header = ContentHeader()
    header.unmarshal(bytes(12) + join_properties(properties))
    assert (header.properties.headers or {}) == after
    assert header.properties.message_id == "m"


def test_headers_that_are_not_named_stay_byte_for_byte() -> None:
    odd = [
        (b"\xff\xfe", b"T" + b"\xff" * 8),
        (b"deep", raw_content.nested_table(5_000)),
        (b"CC", raw_content.array(text_value("q"))),
        (b"twice", text_value("1")),
        (b"twice", text_value("2")),
        (b"replaced", b"I" + bytes(4)),
    ]
    table = b"".join(short_string(name) + value for name, value in odd)
    properties = split_properties(
        raw_content.flags(1 << 13) + struct.pack(">I", len(table)) + table
    )
    edit_headers(properties, drop=["CC"], add={"replaced": "r", "new": "n"})
    kept = b"".join(short_string(name) + value for name, value in (*odd[:2], *odd[3:5]))
    kept += short_string("replaced") + text_value("r") + short_string("new") + text_value("n")
    assert properties == {"headers": struct.pack(">I", len(kept)) + kept}

    edit_headers(properties, drop=["deep", "twice", "replaced", "new"])
    edit_headers(properties, drop=["nothing"])
    assert split_properties(join_properties(properties)) == properties != {}


def test_no_headers_are_left() -> None:
    properties = split_properties(raw_content.header_table(b"CC", text_value("q")))
    edit_headers(properties, drop=["CC"])
    assert properties == {}
