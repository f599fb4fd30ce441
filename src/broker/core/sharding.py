"""Which of several shards a key belongs to."""

from collections.abc import Sequence
from zlib import crc32


def shard_of[T](key: str, shards: Sequence[T]) -> T:
    """Return the shard of a key: the same in each process that has the same shards in one order."""
    if len(shards) == 1:
        return shards[0]
    return shards[crc32(key.encode()) % len(shards)]
