import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.amqp.raw_message import RawMessage, without_foreign_user_id

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


@given(PROPERTIES, st.text(min_size=1, max_size=20))
def test_only_a_strangers_name_is_taken_out(properties: dict[str, object], user: str) -> None:
    without, named = marshalled(**properties), marshalled(**properties, user_id=user)
    assert without_foreign_user_id(without, "guest") == without
    assert without_foreign_user_id(named, user) == named
    assert without_foreign_user_id(named, f"{user}!") == without


@given(st.binary(max_size=40))
def test_what_cannot_be_understood_is_left_alone_or_shorter(properties: bytes) -> None:
    found = without_foreign_user_id(properties, "guest")
    assert found == properties or len(found) < len(properties)


@pytest.mark.parametrize("properties", [b"", b"\x00", struct.pack(">H", 1 << 4) + b"\x05abc"])
def test_what_ends_too_early_is_left_alone(properties: bytes) -> None:
    assert without_foreign_user_id(properties, "guest") == properties


def test_no_body_in_an_error_message() -> None:
    assert "secret" not in repr(RawMessage(1, b"secret", b"secret"))
