"""The agents of a simulation: how fast they work, and when they do not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

FASTEST, SLOWEST = 0.2, 20.0
"""Seconds that the fastest and the slowest agent work on a message, on average."""


class Outage(NamedTuple):
    """Seconds in which an agent works on nothing."""

    begins_at: float
    ends_at: float


@dataclass
class Worker:
    """Works on one message at a time, in the order in which they come.

    Attributes:
        seconds: Its work on a message, on average.
        is_mute: Whether it never answers, by design.
        free_at: When it will have answered all that it was sent.
    """

    agent_id: str
    seconds: float
    outage: Outage | None = None
    is_mute: bool = False
    free_at: float = 0.0

    def answers_at(self, now: float, effort: float) -> float:
        """Return when it would answer a message that comes now.

        Args:
            effort: The work on this message relative to the average.
        """
        begins_at = max(now, self.free_at)
        ends_at = begins_at + effort * self.seconds
        if self.outage is not None and begins_at < self.outage.ends_at:
            down = max(self.outage.begins_at, begins_at)
            if ends_at > down:
                ends_at += self.outage.ends_at - down
        return ends_at


type Spread = Callable[[float], float]
"""Returns the seconds of work on a message, given an agent's rank: 0 is the fastest, 1 the slowest.
"""


def speeds_evenly_spread(rank: float) -> float:
    """Spread the messages per second evenly: most agents are fast, and a few are very slow."""
    return 1 / (1 / FASTEST + rank * (1 / SLOWEST - 1 / FASTEST))


def times_log_uniform(rank: float) -> float:
    """Spread the times log-uniformly: there are as many slow agents as fast ones."""
    return float(FASTEST * (SLOWEST / FASTEST) ** rank)


def crowd(agents: int, spread: Spread) -> list[Worker]:
    """Return so many agents, the fastest first."""
    return [Worker(f"agent-{number:03}", spread(number / (agents - 1))) for number in range(agents)]


def capacity(workers: list[Worker]) -> float:
    """Return how many messages per second agents can answer."""
    return sum(1 / worker.seconds for worker in workers)
