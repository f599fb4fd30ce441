"""What is read of the AMQP properties of a message."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.properties import (
    AllProperties,
    Properties,
    decode_all_properties,
    decode_properties,
)
from chaos import raw_content

ERROR = "the AMQP properties cannot be parsed"


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
        # AMQP has no difference between an empty property and none, in pamqp's eyes.
        correlation_id or None,
        message_id or None,
    )


@given(st.binary(max_size=200))
@example(raw_content.header_table(b"h", raw_content.nested_table(15_000)))
@example(raw_content.header_table(b"\xff", b"I\0\0\0\x01"))
@example(raw_content.flags(raw_content.FLAG_TIMESTAMP) + b"\xff" * 8)
@example(raw_content.flags(raw_content.FLAG_CONTENT_TYPE) + b"\x02\xff\xfe")
@example(b"\xff" * 30)
def test_fails_exactly_where_pamqp_does_and_never_raises(data: bytes) -> None:
    header = ContentHeader()
    try:
        header.unmarshal(bytes(12) + data)
    except Exception:  # noqa: BLE001 - whatever it cannot parse
        assert decode_properties(data) == Properties(error=ERROR)
    else:
        decoded = decode_properties(data)
        assert decoded.error is None
        assert decoded.correlation_id == header.properties.correlation_id
        assert decoded.message_id == header.properties.message_id


@pytest.mark.parametrize("value", [5, None, ["a"], {"a": 1}, "x" * 1025, True])
def test_a_header_that_is_no_short_text_does_not_pass(value: object) -> None:
    properties = Basic.Properties(headers={"traceparent": value, "tracestate": "kept"})  # type: ignore[dict-item]
    assert decode_properties(marshalled(properties)).headers == {"tracestate": "kept"}


@given(
    st.dictionaries(
        st.text(max_size=30), short_strings | st.integers(-(2**31), 2**31 - 1), max_size=5
    ),
    short_strings,
)
def test_all_headers_of_what_is_looked_at(headers: dict[str, Any], correlation_id: str) -> None:
    data = marshalled(Basic.Properties(headers=headers, correlation_id=correlation_id))
    assert decode_all_properties(data) == AllProperties(headers, correlation_id or None)


@given(st.binary(max_size=200))
@example(raw_content.header_table(b"h", raw_content.nested_table(15_000)))
def test_both_ways_of_decoding_fail_alike(data: bytes) -> None:
    assert decode_all_properties(data).error == decode_properties(data).error


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
    assert decode_properties(data) == Properties(replays=count)


def test_what_was_decoded_before_is_decoded_alike() -> None:
    assert decode_properties(b"\0\0") == decode_properties(b"\0\0") == Properties()
