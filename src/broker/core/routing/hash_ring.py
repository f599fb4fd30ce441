"""A consistent hash ring: the same key belongs to the same agent, whoever comes or goes else.

Each agent has points on a ring, and a key belongs to the agent with the next point. Where points
lie by chance, so do the gaps between them, and with them the shares of agents. Two things even them
out: an agent has many points, and a key has two places, of which the one nearer to a point counts
(multi-probe consistent hashing, Appleton and O'Reilly, 2015). With 160 points, shares differ by 5 %
(one standard deviation). More places would need fewer points, and take each message more time.

A million agents with as many points each would take a gigabyte, and long to enter. So beyond 200
agents each has fewer, at a number of agents of its own for each point: all at once would move most
keys. Whoever comes or goes moves a share of 1/n, and up to half as much again beyond 200.

All is computed from the ids of those who are online, so brokers that know the same agents agree.
"""

from array import array
from collections.abc import Callable, Iterator
from hashlib import blake2b, shake_128
from heapq import merge
from itertools import islice
from struct import unpack
from zlib import crc32

import msgspec

from broker.core.agent import Agent
from broker.core.routing.sorted_numbers import SortedNumbers

_MOST_POINTS, _FEWEST_POINTS = 160, 4
_WITH_MOST_POINTS = 200
"""Agents up to which each of them has all its points."""
_PROBES = 2
_PATIENCE = 200
"""Points that are passed at least, because their agents may not receive the message."""

_SLOT_BITS = 24
"""A number on the ring is a position and below it the slot of an agent, which thus has its points
without an object for each."""
_SLOT = (1 << _SLOT_BITS) - 1
_NUMBER = (1 << 64) - 1
_POSITION = _NUMBER & ~_SLOT
_CIRCUMFERENCE = 1 << (64 - _SLOT_BITS)

_FACTORS = unpack(
    f">{_MOST_POINTS + _PROBES}Q", shake_128(b"ring").digest(8 * (_MOST_POINTS + _PROBES))
)
# A hash of an id or a key, times any odd number, is as good as another hash, and much cheaper.
_POINT_FACTORS = [factor | 1 for factor in _FACTORS[_PROBES:]]
_PROBE_FACTORS = [factor | 1 for factor in _FACTORS[:_PROBES]]

type Find = Callable[[str], Agent | None]


class RingPlace(msgspec.Struct, frozen=True):
    """Where a key lies on the ring, and where the nearest point. 1.0 is once around."""

    at: float  # of its two places the one that counts
    point: float
    agent_id: str  # to which the point belongs


class HashRing:
    """The ring of those who are online."""

    def __init__(self) -> None:
        self._ring = SortedNumbers()
        # By the position of their hashes, which tells when they have how many points.
        self._by_hash = SortedNumbers()
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []  # by slot
        self._hashes = array("Q")  # by slot
        self._free: list[int] = []
        self._share = _share(0)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, agent_id: str) -> None:
        """Add an agent, unless it is there. O(its points)."""
        if agent_id in self._slots:
            return
        hashed = int.from_bytes(blake2b(agent_id.encode(), digest_size=8).digest())
        if self._free:
            slot = self._free.pop()
            self._ids[slot] = agent_id
            self._hashes[slot] = hashed
        else:
            slot = len(self._ids)
            self._ids.append(agent_id)
            self._hashes.append(hashed)
        self._adjust(len(self._slots) + 1)
        self._slots[agent_id] = slot
        self._by_hash.add(hashed & _POSITION | slot)
        self._ring.add(*_numbers(self._share, hashed, slot))

    def remove(self, agent_id: str) -> None:
        """Remove an agent, if it is there. O(its points)."""
        slot = self._slots.pop(agent_id, None)
        if slot is None:
            return
        hashed = self._hashes[slot]
        self._by_hash.remove(hashed & _POSITION | slot)
        self._ring.remove(*_numbers(self._share, hashed, slot))
        self._ids[slot] = ""
        self._free.append(slot)
        self._adjust(len(self._slots))

    def owner(self, key: str) -> str | None:
        """Return the id of the agent to which a key belongs; None if the ring is empty. O(1)."""
        if not self._slots:
            return None
        # A distance around the ring has the slot below.
        return self._ids[self._ring.least_distance(_probes(key)) & _SLOT]

    def place(self, key: str) -> RingPlace | None:
        """Return where a key lies, for people; None if the ring is empty. O(1)."""
        if not self._slots:
            return None
        distances = {probe: self._ring.least_distance([probe]) for probe in _probes(key)}
        at = min(distances, key=distances.__getitem__)
        number = at + distances[at] & _NUMBER
        around = 1 << 64
        return RingPlace(at / around, number / around, self._ids[number & _SLOT])

    def nearest(self, key: str, find: Find, patience: int = 0) -> Agent | None:
        """Return the agent to which a key belongs, among those that are found by their ids.

        None if none of them is near: they are few among many. O(agents nearer than that one).

        Args:
            patience: How many nearer points are passed at most, if that is more than 200.
        """
        tried = set()
        distances = merge(*map(self._since, _probes(key)))
        for distance in islice(distances, max(patience, _PATIENCE)):
            slot = distance & _SLOT
            if slot not in tried:
                tried.add(slot)
                agent = find(self._ids[slot])
                if agent is not None:
                    return agent
        return None

    def _since(self, probe: int) -> Iterator[int]:
        """Yield the distances of points from a place on, with their slots below, once around."""
        for number in self._ring.since(probe):
            yield number - probe
        for number in self._ring.since(0):
            if number >= probe:
                return
            yield number - probe & _NUMBER

    def _adjust(self, agents: int) -> None:
        """Give those who are there as many points as they have among so many agents."""
        before, self._share = self._share, _share(agents)
        if before == self._share:
            return
        fewer, more = sorted((before, self._share))
        change = self._ring.add if self._share > before else self._ring.remove
        for whole in range(int(fewer) + 1, int(more) + 2):
            # Between these two, the sum of the share and an agent's own fraction becomes whole.
            begin = max(0, int((whole - more) * _CIRCUMFERENCE) - 1)
            end = int((whole - fewer) * _CIRCUMFERENCE) + 1
            for number in self._by_hash.since(begin << _SLOT_BITS):
                position, slot = number >> _SLOT_BITS, number & _SLOT
                if position > end:
                    break
                if _points(fewer, position) < whole <= _points(more, position):
                    change(self._hashes[slot] * _POINT_FACTORS[whole - 1] & _POSITION | slot)


def _probes(key: str) -> list[int]:
    """Return the places of a key."""
    hashed = crc32(key.encode())
    return [hashed * factor & _POSITION for factor in _PROBE_FACTORS]


def _share(agents: int) -> float:
    """Return how many points an agent has on average."""
    if agents <= _WITH_MOST_POINTS:
        return _MOST_POINTS
    share: float = _MOST_POINTS * (_WITH_MOST_POINTS / agents) ** 0.45
    return max(_FEWEST_POINTS, share)


def _points(share: float, position: int) -> int:
    """Return how many points an agent has, when all have so many on average.

    Args:
        position: Of its hash.
    """
    return int(share + position / _CIRCUMFERENCE)


def _numbers(share: float, hashed: int, slot: int) -> list[int]:
    """Return the points of an agent as numbers on the ring."""
    count = _points(share, hashed >> _SLOT_BITS)
    return [hashed * factor & _POSITION | slot for factor in _POINT_FACTORS[:count]]
