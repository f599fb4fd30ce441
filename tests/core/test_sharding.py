from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.sharding import shard_of

KEYS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("key", "shard"), [("agent_0", 3), ("agent_1", 1), ("agent_2", 2), ("", 0), ("agént", 1)]
)
def test_a_key_keeps_its_shard_from_version_to_version(key: str, shard: int) -> None:
    assert shard_of(key, range(5)) == shard


@given(KEYS, st.integers(1, 50))
def test_the_shard_of_a_key_is_one_of_them_and_always_the_same(key: str, count: int) -> None:
    shards = [object() for _ in range(count)]
    assert shard_of(key, shards) is shards[crc32(key.encode()) % count]
    assert shard_of(key, shards) is shard_of(key, tuple(shards))


@given(st.integers(1, 10), st.text("abc_-", max_size=5), st.integers(0, 1_000_000))
def test_all_shards_are_used(count: int, prefix: str, first: int) -> None:
    keys = [f"{prefix}{number}" for number in range(first, first + 300)]
    used = [shard_of(key, range(count)) for key in keys]
    assert set(used) == set(range(count))
