"""A sorted set of 64-bit numbers that lie by chance: eight bytes for each, and fast to change."""

from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator

_LARGEST = 2**64 - 1
_LARGEST_CHUNK = 64
"""Numbers in a chunk on average. With more, all chunks are halved."""


class SortedNumbers:
    """Numbers from 0 to 2**64 - 1, each once at most.

    They lie in chunks, since inserting into one long array would move half of it. A number's first
    bits tell its chunk, so numbers that begin alike are right, but slow to change.
    """

    def __init__(self) -> None:
        self._chunks = [array("Q")]
        self._shift = 64  # to the right leaves the bits that tell the chunk
        self._count = 0

    def add(self, *numbers: int) -> None:
        """Add numbers that are not there. O(1) on average for each."""
        chunks, shift = self._chunks, self._shift
        for number in numbers:
            insort(chunks[number >> shift], number)
        self._count += len(numbers)
        while self._count > _LARGEST_CHUNK * len(self._chunks):
            self._halve_chunks()

    def remove(self, *numbers: int) -> None:
        """Remove numbers that are there. O(1) for each."""
        for number in numbers:
            chunk = self._chunks[number >> self._shift]
            del chunk[bisect_left(chunk, number)]
        self._count -= len(numbers)

    def least_distance(self, place: int, other: int) -> int:
        """Return how far it is to the nearest number from one of two places. O(1).

        There must be a number. As with `distances`, it is counted upwards and around.
        """
        # Written out for both, as it is most of what a message costs.
        chunks, shift = self._chunks, self._shift
        chunk, other_chunk = chunks[place >> shift], chunks[other >> shift]
        try:
            here = chunk[bisect_left(chunk, place)] - place
            there = other_chunk[bisect_left(other_chunk, other)] - other
        except IndexError:  # it is in a later chunk
            return min(next(self.distances(place)), next(self.distances(other)))
        return here if here < there else there  # noqa: FURB136 - `min` takes as long as all the rest

    def distances(self, place: int) -> Iterator[int]:
        """Yield how far it is from a place to each number, upwards and around. O(1) to begin."""
        chunks = self._chunks
        index = place >> self._shift
        chunk = chunks[index]
        for position in range(bisect_left(chunk, place), len(chunk)):
            yield chunk[position] - place
        for later in range(index + 1, len(chunks)):
            for number in chunks[later]:
                yield number - place
        for number in self.since(0):
            if number >= place:
                return
            yield number - place & _LARGEST

    def since(self, number: int) -> Iterator[int]:
        """Yield the numbers from one on, upwards. O(1) to begin."""
        index = number >> self._shift
        chunk = self._chunks[index]
        for place in range(bisect_left(chunk, number), len(chunk)):
            yield chunk[place]
        for later in range(index + 1, len(self._chunks)):
            yield from self._chunks[later]

    def _halve_chunks(self) -> None:
        self._shift -= 1
        chunks = self._chunks
        self._chunks = []
        for index, chunk in enumerate(chunks):
            middle = bisect_left(chunk, (2 * index + 1) << self._shift)
            self._chunks += (chunk[:middle], chunk[middle:])
