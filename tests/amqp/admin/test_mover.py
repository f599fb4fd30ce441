"""Who may not be named by what is moved."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp.admin.mover import without_foreign_user_id
from tests.amqp.wire.test_raw_properties import PROPERTIES, marshalled


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
