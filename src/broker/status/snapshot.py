"""The broker at one moment, for people and programs."""

from datetime import UTC, datetime
from math import isfinite
from typing import Literal

import trio
from msgspec.structs import replace

from broker.status.model import (
    Connections,
    DeadLetters,
    HeldStatus,
    Messages,
    Rates,
    RegistryStatus,
    RoutingStatus,
    Status,
)
from broker.status.queues import queues
from broker.status.readiness import readiness
from broker.status.verdict import verdict
from broker.status.vitals import Vitals
from broker.telemetry.tally import outcomes
from broker.version import __version__


def status(vitals: Vitals, rates: Rates) -> Status:
    """Return the state of the broker."""
    checks = readiness(vitals)
    messages, publishings = vitals.messages, vitals.publishings
    registry = vitals.router.registry
    found = Status(
        broker_id=vitals.router.broker_id,
        broker_name=vitals.broker_name,
        version=__version__,
        started_at=vitals.started_at,
        uptime_seconds=trio.current_time() - vitals.started,
        state=_state(vitals),
        ready=all(check.problem is None for check in checks),
        checks=checks,
        connections=Connections(
            rabbitmq=vitals.amqp.connectivity.status(is_blocked=vitals.amqp.is_blocked),
            server=vitals.central.connectivity.status(),
        ),
        registry=RegistryStatus(
            online=registry.online_count,
            known=registry.known_count,
            is_fresh=vitals.consumption.is_open,
            age_seconds=vitals.registry_age,
        ),
        held=HeldStatus(
            seconds=vitals.router.holding.seconds,
            messages=vitals.held_messages,
            earliest_deadline=_moment(vitals.earliest_deadline),
        ),
        routing=RoutingStatus(
            policy=vitals.router.choosing.policy_name,
            receiver=vitals.router.choosing.routing.receiver.value,
        ),
        rates=rates,
        in_flight=vitals.amqp.in_flight,
        messages=Messages(
            received=messages.received.total(),
            redelivered=messages.redelivered,
            outcomes=outcomes(messages, publishings),
        ),
        dead_letters=DeadLetters(
            by_reason={code: count for code, count in publishings.dead_lettered.items() if count},
            latest=list(publishings.latest_dead_letters)[::-1],
        ),
        queues=queues(vitals),
        paused_since=vitals.pauses.since,
        pauses_at=vitals.pauses_at,
        oldest_in_flight_seconds=vitals.amqp.oldest_in_flight_seconds,
    )
    return replace(found, verdict=verdict(found))


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isfinite(seconds) else None


def _state(vitals: Vitals) -> Literal["routing", "paused", "stopping"]:
    if vitals.stop_requested.is_set():
        return "stopping"
    return "routing" if vitals.is_routing else "paused"
