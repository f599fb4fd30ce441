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
from collections.abc import Container
from hashlib import blake2b, shake_128
from struct import unpack
from zlib import crc32

import msgspec

from broker.core.agent import Agent
from broker.core.routing.sorted_numbers import SortedNumbers

_MOST_POINTS, _FEWEST_POINTS = 160, 4
_WITH_MOST_POINTS = 200
"""Agents up to which each of them has all its points."""
_PATIENCE = 200
"""Points that are passed at least, because their agents may not receive the message."""

_SLOT_BITS = 24
"""A number on the ring is a position and below it the slot of an agent, which thus has its points
without an object for each."""
_SLOT = (1 << _SLOT_BITS) - 1
_NUMBER = (1 << 64) - 1
_POSITION = _NUMBER & ~_SLOT
_NOWHERE = _NUMBER + 1  # is farther than any number
_CIRCUMFERENCE = 1 << (64 - _SLOT_BITS)

# A hash of an id or a key, times any odd number, is as good as another hash, and much cheaper.
_FACTOR, _OTHER_FACTOR, *_POINT_FACTORS = (
    factor | 1
    for factor in unpack(f">{2 + _MOST_POINTS}Q", shake_128(b"ring").digest(8 * (2 + _MOST_POINTS)))
)


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
        self._agents: list[Agent | None] = []  # by slot
        self._hashes = array("Q")  # by slot
        self._free: list[int] = []
        self._share = _share(0)

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, agent: Agent) -> None:
        """Add an agent, or if it is there, take note of its new form. O(its points)."""
        agent_id = agent.agent_id
        known = self._slots.get(agent_id)
        if known is not None:
            self._agents[known] = agent
            return
        hashed = int.from_bytes(blake2b(agent_id.encode(), digest_size=8).digest())
        if self._free:
            slot = self._free.pop()
            self._agents[slot] = agent
            self._hashes[slot] = hashed
        else:
            slot = len(self._agents)
            self._agents.append(agent)
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
        self._agents[slot] = None
        self._free.append(slot)
        self._adjust(len(self._slots))

    def owner(self, key: str) -> Agent | None:
        """Return the agent to which a key belongs; None if the ring is empty. O(1)."""
        if not self._slots:
            return None
        place, other = _places(key)
        # A distance on the ring has the slot below.
        return self._agents[self._ring.least_distance(place, other) & _SLOT]

    def place(self, key: str) -> RingPlace | None:
        """Return where a key lies, for people; None if the ring is empty. O(1)."""
        owner = self.owner(key)
        if owner is None:
            return None
        distances = {place: next(self._ring.distances(place)) for place in _places(key)}
        at = min(distances, key=distances.__getitem__)
        number = at + distances[at] & _NUMBER
        around = 1 << 64
        return RingPlace(at / around, number / around, owner.agent_id)

    def nearest(self, key: str, agents: Container[Agent], patience: int = 0) -> Agent | None:
        """Return to whom of some agents a key belongs.

        None if none of them is near: they are few among many. O(agents nearer than that one).

        Args:
            patience: How many nearer points are passed at most, if that is more than 200.
        """
        one, other = map(self._ring.distances, _places(key))
        here, there = next(one, _NOWHERE), next(other, _NOWHERE)
        tried = set()
        for _ in range(max(patience, _PATIENCE)):
            if here < there:
                distance, here = here, next(one, _NOWHERE)
            else:
                distance, there = there, next(other, _NOWHERE)
            if distance == _NOWHERE:
                break
            slot = distance & _SLOT
            if slot not in tried:
                tried.add(slot)
                agent = self._agents[slot]
                if agent is not None and agent in agents:
                    return agent
        return None

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


def _places(key: str) -> tuple[int, int]:
    """Return the two places of a key."""
    hashed = crc32(key.encode())
    return hashed * _FACTOR & _POSITION, hashed * _OTHER_FACTOR & _POSITION


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
