"""Statuses of a broker in the situations that its page must tell apart."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from broker.status.model import (
    AgentEntry,
    Check,
    Connections,
    DeadLetters,
    Messages,
    QueueState,
    QueueStatus,
    Rates,
    RegistryStatus,
    Status,
)
from broker.status.verdict import verdict
from broker.telemetry.connectivity import ConnectionStatus
from broker.telemetry.tally import DeadLetterNote

STARTED_AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
UPTIME = 93_784.0
NOW = STARTED_AT + timedelta(seconds=UPTIME)

_UNKNOWN = "not known while RabbitMQ is not connected"
_NOT_CONSUMED = "RabbitMQ has no consumer of broker_input_queue"
_LOST = "cannot connect: connection refused"
_CHECKS = ("running", "rabbitmq", "alarm", "consumers", "queues", "server", "registry")


def _checks(**problems: str) -> list[Check]:
    return [Check(name, problems.get(name)) for name in _CHECKS]


def queues(
    waiting: int = 12,
    unread: int = 3,
    dead: int = 45,
    *,
    state: QueueState = "ok",
    growth: float = 0.0,
) -> list[QueueStatus]:
    """Return the queues of the pipeline; state and growth are those of the output."""
    return [
        QueueStatus("input", "broker_input_queue", waiting, 1, 0.0, "ok"),
        QueueStatus(
            "output", "broker_output_queue", unread, 0 if state == "unread" else 2, growth, state
        ),
        QueueStatus("dead_letter", "broker_dead_letter_queue", dead, 0, 0.0, "ok"),
    ]


def judged(status: Status) -> Status:
    """Return a status with its verdict."""
    return replace(status, verdict=verdict(status))


_WORKING = Status(
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
            5,
            "the connection was lost: connection reset by peer",
            NOW - timedelta(hours=4, minutes=13),
            lost=2,
            failed_tries=3,
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
        outcomes={
            "routed": 1_270_442,
            "no_agent_online": 1_204,
            "forwarded": 0,
            "registered": 64,
            "advertised": 0,
            "dead_lettered": 45,
        },
    ),
    dead_letters=DeadLetters(
        by_reason={"invalid_json": 31, "too_large": 12, "invalid_field": 2, "too_deep": 0},
        latest=[
            DeadLetterNote(
                "invalid_json",
                "broker_input_queue",
                NOW - timedelta(seconds=12),
                None,
                "JSON is malformed: invalid character (byte 17)",
                "0f6f1c0a9b3e4a57a4b1c6a2f0d3e8b9",
            ),
            DeadLetterNote(
                "too_large",
                "broker_input_queue",
                NOW - timedelta(minutes=3),
                "agent_31",
                "the body has 2097152 bytes, 1048576 are allowed",
                "it's; $(not) safe",
            ),
            DeadLetterNote(
                "invalid_field",
                "agent_metadata_queue",
                NOW - timedelta(hours=2),
                "agent_7",
                "`capabilities`: Expected `array`, got `str`",
            ),
        ],
    ),
    queues=queues(),
    oldest_in_flight_seconds=0.012,
)
WORKING = judged(_WORKING)

WITHOUT_RABBITMQ = judged(
    replace(
        WORKING,
        state="paused",
        ready=False,
        checks=[
            replace(check, problem=_UNKNOWN, is_known=False)
            if check.name in {"alarm", "queues"}
            else check
            for check in _checks(rabbitmq=_LOST, consumers=_NOT_CONSUMED)
        ],
        connections=replace(
            WORKING.connections,
            rabbitmq=replace(
                WORKING.connections.rabbitmq,
                state="connecting",
                since=NOW - timedelta(seconds=41),
                error=_LOST,
                error_at=NOW - timedelta(seconds=3),
            ),
        ),
        queues=[QueueStatus(queue.role, queue.name) for queue in queues()],
        paused_since=NOW - timedelta(seconds=41),
        oldest_in_flight_seconds=None,
        rates=Rates(0.0, 0.0, [410] * 20 + [0] * 40, [409] * 20 + [0] * 40),
        in_flight=0,
    )
)

BLOCKED = judged(
    replace(
        WORKING,
        ready=False,
        checks=_checks(alarm="RabbitMQ blocks publishing: it is short of memory or disk space"),
        connections=replace(
            WORKING.connections, rabbitmq=replace(WORKING.connections.rabbitmq, state="blocked")
        ),
    )
)

WITHOUT_SERVER = judged(
    replace(
        WORKING,
        ready=False,
        checks=_checks(server=_LOST),
        connections=replace(
            WORKING.connections,
            server=replace(
                WORKING.connections.server,
                state="connecting",
                since=NOW - timedelta(seconds=13),
                error=_LOST,
                error_at=NOW - timedelta(seconds=1),
                lost=1,
                failed_tries=4,
            ),
        ),
    )
)

STALE = judged(
    replace(
        WITHOUT_SERVER,
        state="paused",
        checks=_checks(
            consumers=_NOT_CONSUMED,
            server=_LOST,
            registry="the server has been gone for longer than BROKER_REGISTRY_TTL",
        ),
        registry=RegistryStatus(online=38, known=52, is_fresh=False, age_seconds=75.0),
        rates=Rates(0.0, 0.0, [410] * 45 + [0] * 15, [409] * 45 + [0] * 15),
        in_flight=0,
        oldest_in_flight_seconds=None,
        queues=[
            QueueStatus("input", "broker_input_queue", 6_188, 0, 103.1, "unread"),
            *queues()[1:],
        ],
    )
)

STOPPING = judged(
    replace(WORKING, state="stopping", ready=False, checks=_checks(running="a stop was requested"))
)

NOBODY_ONLINE = judged(
    replace(WORKING, registry=RegistryStatus(online=0, known=52, is_fresh=True, age_seconds=3.4))
)

PAUSED = judged(replace(STALE, paused_since=NOW - timedelta(seconds=15)))

UNREAD = judged(replace(WORKING, queues=queues(0, 20_164, 0, state="unread", growth=411.9)))


def agent(number: int, *, is_online: bool = True, share: float = 0.05) -> AgentEntry:
    return AgentEntry(
        agent_id=f"agent_{number}",
        agent_name=f"Agent {number}",
        is_online=is_online,
        last_seen=NOW - timedelta(seconds=5 * number),
        routed=round(share * WORKING.messages.outcomes["routed"]),
        share=share,
    )
