"""What would become of a chat message, and why: the JSON of `POST /explain`.

It repeats ids and capabilities, which come from outside: escape them.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from broker.core.routing.hash_ring import RingPlace
from broker.core.routing.least_outstanding import Cost

type Problem = Literal["unknown", "offline", "is_sender", "not_capable"]


class Filter(msgspec.Struct, frozen=True):
    """How many agents a filter leaves."""

    name: str  # `online`, `not_sender`, `receiver` or `capability`
    left: int
    value: str | None = None  # the receiver or the capability, which come from the message
    problem: Problem | None = None  # why the receiver may not have the message


class PolicyView(msgspec.Struct, frozen=True):
    """What the policy would choose among, and what it would look at."""

    name: str
    candidates: int
    is_known: bool = True  # whether it is one of the broker's; another one is not called
    compared: Sequence[Cost] = ()
    """Of `least_outstanding`: two candidates, drawn now, the better one first."""
    key: str | None = None  # of `consistent_hash`: what the conversation goes by
    place: RingPlace | None = None
    """Of `consistent_hash`: where that lies on the ring, and the nearest point. Its agent receives
    the message, or if it may not, the agent of the nearest point that may."""


class Explanation(msgspec.Struct, frozen=True):
    """What would become of a message now."""

    outcome: str  # a `MessageOutcome`, or `dead_lettered`
    receiver_id: str | None = None  # None as well if one of several would be chosen
    reason: str | None = None  # of a dead letter
    error: str | None = None  # of a dead letter, a line for a person
    filters: Sequence[Filter] = ()  # in the order in which they take effect
    policy: PolicyView | None = None  # None if it would not be asked
    held_seconds: float | None = None  # for how long it would wait for somebody first, at most
    paused: bool = False  # whether it would first wait in its queue: the registry is stale
