"""What is read of the AMQP properties of a message."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.properties import Properties, decode_properties
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


def test_what_was_decoded_before_is_decoded_alike() -> None:
    assert decode_properties(b"\0\0") == decode_properties(b"\0\0") == Properties()
