"""Statuses of a broker in the situations that its page must tell apart."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from broker.status.model import (
    AgentEntry,
    Check,
    Connections,
    DeadLetters,
    Messages,
    Rates,
    RegistryStatus,
    Status,
)
from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.tally import DeadLetterNote

STARTED_AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
UPTIME = 93_784.0
NOW = STARTED_AT + timedelta(seconds=UPTIME)

_LOST = "cannot connect: [Errno 111] Connection refused"


def _checks(**problems: str) -> list[Check]:
    names = ("running", "rabbitmq", "alarm", "consumers", "queues", "server", "registry")
    return [Check(name, problems.get(name)) for name in names]


WORKING = Status(
    broker_id="broker-7",
    broker_name="BrokerService",
    version="1.2.3",
    started_at=STARTED_AT,
    uptime_seconds=UPTIME,
    state="routing",
    ready=True,
    checks=_checks(),
    connections=Connections(
        rabbitmq=ConnectionStatus(
            "connected",
            "amqp://broker@rabbitmq-0.example:5672/agents",
            NOW - timedelta(hours=4, minutes=12),
            2,
            "the connection was lost: [Errno 104] Connection reset by peer",
        ),
        server=ConnectionStatus(
            "connected", "wss://server.example/ws", NOW - timedelta(hours=26, minutes=3)
        ),
    ),
    registry=RegistryStatus(online=38, known=52, is_fresh=True, age_seconds=3.4),
    rates=Rates(
        received=412.5,
        published=411.9,
        received_history=[380 + (37 * second) % 90 for second in range(60)],
        published_history=[378 + (37 * second) % 88 for second in range(60)],
    ),
    in_flight=17,
    messages=Messages(
        received=1_284_112,
        redelivered=31,
        outcomes={"routed": 1_270_442, "no_agent_online": 1_204, "dead_lettered": 45},
    ),
    dead_letters=DeadLetters(
        by_reason={"invalid_json": 31, "too_large": 12, "unroutable": 2, "too_deep": 0},
        latest=[
            DeadLetterNote("invalid_json", "broker_input_queue", NOW - timedelta(seconds=12)),
            DeadLetterNote("too_large", "broker_input_queue", NOW - timedelta(minutes=3)),
            DeadLetterNote("invalid_json", "agent_metadata_queue", NOW - timedelta(hours=2)),
        ],
    ),
)

WITHOUT_RABBITMQ = replace(
    WORKING,
    state="paused",
    ready=False,
    checks=_checks(rabbitmq=_LOST, consumers="RabbitMQ has no consumer of broker_input_queue"),
    connections=replace(
        WORKING.connections,
        rabbitmq=replace(
            WORKING.connections.rabbitmq,
            state="connecting",
            since=NOW - timedelta(seconds=41),
            error=_LOST,
        ),
    ),
    rates=Rates(0.0, 0.0, [410] * 20 + [0] * 40, [409] * 20 + [0] * 40),
    in_flight=0,
)

BLOCKED = replace(
    WORKING,
    ready=False,
    checks=_checks(alarm="RabbitMQ blocks publishing: it is short of memory or disk space"),
    connections=replace(
        WORKING.connections, rabbitmq=replace(WORKING.connections.rabbitmq, state="blocked")
    ),
)

WITHOUT_SERVER = replace(
    WORKING,
    ready=False,
    checks=_checks(server=_LOST),
    connections=replace(
        WORKING.connections,
        server=replace(WORKING.connections.server, state="connecting", error=_LOST),
    ),
)

STALE = replace(
    WITHOUT_SERVER,
    state="paused",
    checks=_checks(
        consumers="RabbitMQ has no consumer of broker_input_queue",
        server=_LOST,
        registry="the server has been gone for longer than BROKER_REGISTRY_TTL",
    ),
    registry=RegistryStatus(online=38, known=52, is_fresh=False, age_seconds=75.0),
)

STOPPING = replace(
    WORKING, state="stopping", ready=False, checks=_checks(running="a stop was requested")
)

NOBODY_ONLINE = replace(
    WORKING, registry=RegistryStatus(online=0, known=52, is_fresh=True, age_seconds=3.4)
)


def agent(number: int, *, is_online: bool = True, share: float = 0.05) -> AgentEntry:
    return AgentEntry(
        agent_id=f"agent_{number}",
        agent_name=f"Agent {number}",
        is_online=is_online,
        last_seen=NOW - timedelta(seconds=5 * number),
        routed=round(share * WORKING.messages.outcomes["routed"]),
        share=share,
    )
