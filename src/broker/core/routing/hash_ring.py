"""A consistent hash ring: the same key belongs to the same agent, whoever comes or goes else.

Each agent has points on a ring, and a key belongs to the agent with the next point. Where points
lie by chance, so do the gaps between them, and with them the shares of agents. Two things even them
out: an agent has many points, and a key has three places, of which the one nearest to a point
counts (multi-probe consistent hashing, Appleton and O'Reilly, 2015). With 128 points, shares differ
by 4 % (one standard deviation).

A million agents with as many points each would take a gigabyte. So beyond a thousand agents each
has fewer, at a number of agents of its own for each point: all at once would move most keys.
Whoever comes or goes moves a share of 1/n, and up to a third more beyond a thousand.

All is computed from the ids of those who are online, so brokers that know the same agents agree.
"""

from collections.abc import Callable, Iterator, Sequence
from hashlib import shake_128
from itertools import islice
from operator import itemgetter
from struct import unpack

from broker.core.agent import Agent
from broker.core.routing.sorted_numbers import SortedNumbers

_MOST_POINTS, _FEWEST_POINTS = 128, 4
_WITH_MOST_POINTS = 1_000
"""Agents up to which each of them has all its points."""
_PROBES = 3
_PATIENCE = 64
"""Points that are passed from a place on, because their agents may not receive the message."""

_SLOT_BITS = 24
"""A number on the ring is a position and below it the slot of an agent, which thus has its points
without an object for each."""
_SLOT = (1 << _SLOT_BITS) - 1
_CIRCUMFERENCE = 1 << (64 - _SLOT_BITS)

type Find = Callable[[str], Agent | None]


class HashRing:
    """The ring of those who are online."""

    def __init__(self) -> None:
        self._ring = SortedNumbers()
        # By the position of their first point, which tells when they have how many.
        self._firsts = SortedNumbers()
        self._slots: dict[str, int] = {}
        self._ids: list[str] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, agent_id: str) -> None:
        """Add an agent, unless it is there. O(log agents)."""
        if agent_id in self._slots:
            return
        if self._free:
            slot = self._free.pop()
            self._ids[slot] = agent_id
        else:
            slot = len(self._ids)
            self._ids.append(agent_id)
        self._adjust(len(self._slots), len(self._slots) + 1)
        self._slots[agent_id] = slot
        points = self._points_of(agent_id, slot)
        self._firsts.add(points[0])
        for point in points:
            self._ring.add(point)

    def remove(self, agent_id: str) -> None:
        """Remove an agent, if it is there. O(log agents)."""
        slot = self._slots.get(agent_id)
        if slot is None:
            return
        points = self._points_of(agent_id, slot)
        self._firsts.remove(points[0])
        for point in points:
            self._ring.remove(point)
        del self._slots[agent_id]
        self._ids[slot] = ""
        self._free.append(slot)
        self._adjust(len(self._slots) + 1, len(self._slots))

    def nearest(self, key: str, find: Find) -> Agent | None:
        """Return the agent to which a key belongs, among those that are found by their ids.

        None if none of them is near: they are few among many.
        """
        if not self._slots:
            return None
        probes = [number >> _SLOT_BITS for number in _numbers(key, _PROBES)]
        _, slot = min(next(self._since(probe)) for probe in probes)
        agent = find(self._ids[slot])
        if agent is not None:
            return agent
        near = filter(None, (self._first_found(probe, find) for probe in probes))
        return min(near, key=itemgetter(0), default=(0, None))[1]

    def _first_found(self, probe: int, find: Find) -> tuple[int, Agent] | None:
        for distance, slot in islice(self._since(probe), _PATIENCE):
            agent = find(self._ids[slot])
            if agent is not None:
                return distance, agent
        return None

    def _since(self, probe: int) -> Iterator[tuple[int, int]]:
        """Yield the distances of points from a place on, and their slots, once around."""
        for number in self._ring.since(probe << _SLOT_BITS):
            yield (number >> _SLOT_BITS) - probe, number & _SLOT
        for number in self._ring.since(0):
            yield (number >> _SLOT_BITS) - probe + _CIRCUMFERENCE, number & _SLOT

    def _points_of(self, agent_id: str, slot: int) -> Sequence[int]:
        """Return an agent's points as they are now."""
        (first,) = _numbers(agent_id, 1)
        count = _points(first >> _SLOT_BITS, len(self._slots))
        return [number & ~_SLOT | slot for number in _numbers(agent_id, count)]

    def _adjust(self, before: int, after: int) -> None:
        """Give agents as many points as they have among so many agents."""
        fewer, more = sorted((_share(before), _share(after)))
        if fewer == more:
            return
        for whole in range(int(fewer) + 1, int(more) + 2):
            # Between these two, the sum of the share and an agent's own fraction becomes whole.
            begin = max(0, int((whole - more) * _CIRCUMFERENCE) - 1)
            end = (whole - fewer) * _CIRCUMFERENCE + 1
            for number in self._firsts.since(begin << _SLOT_BITS):
                first, slot = number >> _SLOT_BITS, number & _SLOT
                if first > end:
                    break
                had, has = _points(first, before), _points(first, after)
                if had == has:
                    continue
                numbers = _numbers(self._ids[slot], max(had, has))
                change = self._ring.remove if has < had else self._ring.add
                for point in numbers[min(had, has) :]:
                    change(point & ~_SLOT | slot)


def _share(agents: int) -> float:
    """Return how many points an agent has on average."""
    if agents <= _WITH_MOST_POINTS:
        return _MOST_POINTS
    return float(_MOST_POINTS * (_WITH_MOST_POINTS / agents) ** (1 / 3))


def _points(first: int, agents: int) -> int:
    """Return how many points an agent has, whose first point is there."""
    points = int(_share(agents) + first / _CIRCUMFERENCE)
    return min(_MOST_POINTS, max(_FEWEST_POINTS, points))


def _numbers(text: str, count: int) -> Sequence[int]:
    """Return numbers below 2**64 that look random; more of them begin with the same."""
    return unpack(f">{count}Q", shake_128(text.encode()).digest(8 * count))
