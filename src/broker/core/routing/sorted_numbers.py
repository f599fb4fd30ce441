"""A sorted set of 64-bit numbers: eight bytes for each, and fast to change."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

_LARGEST_CHUNK = 1_024


class SortedNumbers:
    """Numbers from 0 to 2**64 - 1, each once at most.

    They lie in chunks, since inserting into one long array would move half of it.
    """

    def __init__(self) -> None:
        self._chunks = [array("Q")]
        self._firsts = [0]  # a chunk has what is from its first on and below the first of the next

    def add(self, number: int) -> None:
        """Add a number that is not there. O(log numbers)."""
        index = bisect_right(self._firsts, number) - 1
        chunk = self._chunks[index]
        chunk.insert(bisect_left(chunk, number), number)
        if len(chunk) > _LARGEST_CHUNK:
            upper = chunk[_LARGEST_CHUNK // 2 :]
            del chunk[_LARGEST_CHUNK // 2 :]
            self._chunks.insert(index + 1, upper)
            self._firsts.insert(index + 1, upper[0])

    def remove(self, number: int) -> None:
        """Remove a number that is there. O(log numbers)."""
        index = bisect_right(self._firsts, number) - 1
        chunk = self._chunks[index]
        del chunk[bisect_left(chunk, number)]
        if not chunk and index:
            del self._chunks[index], self._firsts[index]

    def since(self, number: int) -> Iterator[int]:
        """Yield the numbers from one on, upwards. O(log numbers) to begin."""
        index = bisect_right(self._firsts, number) - 1
        chunk = self._chunks[index]
        for place in range(bisect_left(chunk, number), len(chunk)):
            yield chunk[place]
        for later in range(index + 1, len(self._chunks)):
            yield from self._chunks[later]
