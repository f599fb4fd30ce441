"""What the broker tells of itself: the JSON of `/status`, and what the page shows.

Nothing here holds a message body, a secret, or more entries than fit on a page.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.tally import DeadLetterNote


class Check(msgspec.Struct, frozen=True):
    """One condition of readiness or liveness."""

    name: str  # one word in lower case
    problem: str | None = None  # why it does not hold, for a person


class Connections(msgspec.Struct, frozen=True):
    """The connections to the broker's two peers."""

    rabbitmq: ConnectionStatus
    server: ConnectionStatus


class RegistryStatus(msgspec.Struct, frozen=True):
    """The agent registry."""

    online: int
    known: int
    is_fresh: bool  # whether messages may be routed by it
    age_seconds: float | None = None  # since the server's last status update


class RoutingStatus(msgspec.Struct, frozen=True):
    """How receivers are chosen."""

    policy: str = "random"  # a name of the broker's, or `package.module:name`
    receiver: str = "ignore"  # what the `receiver_id` of a message means: a `ReceiverRule`


class Rates(msgspec.Struct, frozen=True):
    """Messages per second: an average of the last ten, and each of the last sixty in order."""

    received: float = 0.0
    published: float = 0.0
    received_history: list[int] = []
    published_history: list[int] = []


class Messages(msgspec.Struct, frozen=True):
    """Messages since the start."""

    received: int = 0
    redelivered: int = 0  # those that RabbitMQ had delivered before, to anybody
    outcomes: dict[str, int] = {}  # by `MessageOutcome`, or `dead_lettered`


class DeadLetters(msgspec.Struct, frozen=True):
    """What went to the dead-letter queue since the start."""

    by_reason: dict[str, int] = {}
    latest: list[DeadLetterNote] = []  # a few, the latest first


class HeldStatus(msgspec.Struct, frozen=True):
    """Messages that nobody can receive yet."""

    seconds: float = 0.0  # for how long they are held; 0 is not at all
    messages: int | None = None  # in the queue of all brokers; None if that is not known
    earliest_deadline: datetime | None = None  # of those that this broker knows


class Status(msgspec.Struct, frozen=True):
    """The broker at one moment.

    It is `routing` while messages are taken from the input queue, `paused` while they wait there,
    `stopping` once a stop has begun; and `ready` while all checks hold.
    """

    broker_id: str
    broker_name: str
    version: str
    started_at: datetime
    uptime_seconds: float
    state: Literal["routing", "paused", "stopping"]
    ready: bool
    checks: list[Check]
    connections: Connections
    registry: RegistryStatus
    rates: Rates
    in_flight: int  # messages taken and not acknowledged yet
    messages: Messages
    dead_letters: DeadLetters
    routing: RoutingStatus = RoutingStatus()
    held: HeldStatus = HeldStatus()


class AgentEntry(msgspec.Struct, frozen=True):
    """One agent, as listed. Its id, name and capabilities come from outside: escape them."""

    agent_id: str
    agent_name: str
    is_online: bool
    last_seen: datetime | None  # by the server
    routed: int  # messages since the start
    share: float  # of all routed messages, from 0 to 1
    capabilities: Sequence[str] = ()
    outstanding: int | None = None  # messages not answered yet, if the policy wants to know
    answer_seconds: float | None = None  # how long it takes to answer, if the policy knows


class AgentList(msgspec.Struct, frozen=True):
    """The JSON of `/agents`."""

    known: int
    matching: int  # of the first 100,000
    agents: list[AgentEntry]  # a page of those, online ones first
