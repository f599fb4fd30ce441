"""What the broker tells of itself: the JSON of `/status`, and what the page shows.

Nothing here holds a message body, a secret, or more entries than fit on a page.
"""

from datetime import datetime
from typing import Literal

import msgspec

from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.tally import DeadLetterNote


class Check(msgspec.Struct, frozen=True):
    """One condition of readiness or liveness.

    Attributes:
        name: What is checked, in one word of lower case.
        problem: Why it does not hold, in a sentence for a person; None when it does.
    """

    name: str
    problem: str | None = None


class Connections(msgspec.Struct, frozen=True):
    """The connections to the broker's two peers."""

    rabbitmq: ConnectionStatus
    server: ConnectionStatus


class RegistryStatus(msgspec.Struct, frozen=True):
    """The agent registry.

    Attributes:
        online: Agents that may receive messages.
        known: All agents, those that are offline included.
        is_fresh: Whether messages may be routed by it.
        age_seconds: Since the last status update of the server; None before the first.
    """

    online: int
    known: int
    is_fresh: bool
    age_seconds: float | None = None


class Rates(msgspec.Struct, frozen=True):
    """Messages per second.

    Attributes:
        received: Taken from the queues, on average over the last ten seconds.
        published: Published because of them, likewise.
        received_history: Of each of the last sixty seconds, the latest last.
        published_history: Likewise.
    """

    received: float = 0.0
    published: float = 0.0
    received_history: list[int] = []
    published_history: list[int] = []


class Messages(msgspec.Struct, frozen=True):
    """Messages since the start.

    Attributes:
        received: All that was taken from the queues.
        redelivered: Those among them that RabbitMQ had delivered before, to whomever.
        outcomes: What came of them, by outcome: `routed`, `no_agent_online`,
            `only_sender_online`, `forwarded`, `registered`, `disconnected`, `advertised` or
            `dead_lettered`.
    """

    received: int = 0
    redelivered: int = 0
    outcomes: dict[str, int] = {}


class DeadLetters(msgspec.Struct, frozen=True):
    """What went to the dead-letter queue since the start.

    Attributes:
        by_reason: How many, by reason code.
        latest: The last few, the latest first.
    """

    by_reason: dict[str, int] = {}
    latest: list[DeadLetterNote] = []


class Status(msgspec.Struct, frozen=True):
    """The broker at one moment.

    Attributes:
        broker_id: What the broker calls itself.
        broker_name: What it registers as.
        version: Of the program.
        started_at: When the process started.
        uptime_seconds: Since then.
        state: `routing` while messages are taken from the input queue, `paused` while they wait
            there, `stopping` once a stop has begun.
        ready: Whether all checks hold.
        checks: Those of readiness.
        connections: To RabbitMQ and the central server.
        registry: The agent registry.
        rates: Messages per second.
        in_flight: Messages taken and not acknowledged yet.
        messages: Counted since the start.
        dead_letters: Likewise.
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
    in_flight: int
    messages: Messages
    dead_letters: DeadLetters


class AgentEntry(msgspec.Struct, frozen=True):
    """One agent, as listed.

    Attributes:
        agent_id: Its id. It comes from outside, as its name does: escape both.
        agent_name: Its name.
        is_online: Whether it may receive messages.
        last_seen: When the server last heard of it, if the server says so.
        routed: Messages routed to it since the start.
        share: The same as a share of all routed messages, from 0 to 1.
    """

    agent_id: str
    agent_name: str
    is_online: bool
    last_seen: datetime | None
    routed: int
    share: float


class AgentList(msgspec.Struct, frozen=True):
    """The JSON of `/agents`.

    Attributes:
        known: How many agents are known.
        matching: How many of the first 100,000 match what was searched for.
        agents: The first of those, online ones first.
    """

    known: int
    matching: int
    agents: list[AgentEntry]
