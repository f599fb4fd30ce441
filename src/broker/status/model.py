"""What the broker tells of itself: the JSON of `/status`, and what the page shows.

Nothing here holds a message body, a secret, or more entries than fit on a page.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.tally import DeadLetterNote

type QueueRole = Literal["input", "output", "dead_letter", "held"]
type QueueState = Literal["unknown", "ok", "unread", "growing"]
type Tone = Literal["good", "warn", "bad"]


class Check(msgspec.Struct, frozen=True):
    """One condition of readiness or liveness.

    What is not known has a problem as well, for it is no reason to be ready; but none that anybody
    could fix.
    """

    name: str  # one word in lower case
    problem: str | None = None  # why it does not hold, for a person
    is_known: bool = True


class Verdict(msgspec.Struct, frozen=True):
    """Whether the broker works, in one sentence for a person."""

    tone: Tone
    word: str  # a headline without a full stop
    why: str  # one or two sentences, with what ends it


class QueueStatus(msgspec.Struct, frozen=True):
    """One queue, as RabbitMQ counted it a few seconds ago; of all brokers.

    It is `unread` while messages wait and nobody takes any; `growing` while it was never empty in
    the last minute and got longer: whoever reads it is too slow. Dead letters and held messages
    are there to wait, so that their queues are neither.
    """

    role: QueueRole
    name: str
    messages: int | None = None  # that wait to be delivered; None if that is not known
    consumers: int | None = None
    growth: float | None = None  # messages per second, on the average of the last minute
    state: QueueState = "unknown"


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
    `stopping` once a stop has begun; and `ready` while all checks hold. What all of it means is in
    the `verdict`.
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
    queues: list[QueueStatus] = []  # in the order in which messages walk through them
    verdict: Verdict = Verdict("warn", "Not known", "")
    paused_since: datetime | None = None  # when routing stopped, or RabbitMQ began to block it
    pauses_at: datetime | None = None  # when it will stop, unless the server is back before
    oldest_in_flight_seconds: float | None = None  # None if nothing is in flight


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
    last_message_at: datetime | None = None  # from it, received by this broker
    source: Literal["server", "queue"] | None = None  # where its latest change came from


class AgentList(msgspec.Struct, frozen=True):
    """The JSON of `/agents`."""

    known: int
    matching: int  # of the first 100,000
    agents: list[AgentEntry]  # a page of those, online ones first
