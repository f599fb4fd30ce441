"""Readiness: whether the broker routes messages now, and if not, why."""

from collections.abc import Callable

from broker.status.model import Check
from broker.status.vitals import Vitals
from broker.telemetry.connectivity import Connectivity

_NOT_KNOWN = "not known while RabbitMQ is not connected"

_ALARMING_SHARE = 0.5
"""Of the prefetch: when as many wait, the queue that they came from will be held up soon."""


def readiness(vitals: Vitals) -> list[Check]:
    """Return all checks of readiness, as of now."""
    return [
        Check("running", "a stop was requested" if vitals.stop_requested.is_set() else None),
        Check("rabbitmq", _lost(vitals.amqp.connectivity, "not connected yet")),
        _of_rabbitmq("alarm", _blocked, vitals),
        Check("consumers", _not_consuming(vitals)),
        _of_rabbitmq("queues", _not_publishing, vitals),
        Check("server", _lost(vitals.central.connectivity, "not registered yet")),
        Check("registry", _not_fresh(vitals)),
    ]


def _of_rabbitmq(name: str, problem: Callable[[Vitals], str | None], vitals: Vitals) -> Check:
    """Return a check of what only RabbitMQ knows."""
    if not vitals.amqp.connectivity.is_connected:
        return Check(name, _NOT_KNOWN, is_known=False)
    return Check(name, problem(vitals))


def _blocked(vitals: Vitals) -> str | None:
    if not vitals.amqp.is_blocked:
        return None
    return "RabbitMQ blocks publishing: it is short of memory or disk space"


def _not_consuming(vitals: Vitals) -> str | None:
    queues, refused = vitals.queues, vitals.amqp.refused
    wanted = (*queues.inputs, queues.metadata, queues.advertisement, queues.registry_exchange)
    missing = [
        f"{queue} ({refused[queue]})" if queue in refused else queue
        for queue in wanted
        if queue not in vitals.amqp.consumed
    ]
    return f"RabbitMQ has no consumer of {', '.join(missing)}" if missing else None


def _not_publishing(vitals: Vitals) -> str | None:
    """Name what takes no messages, and consumers that this has stopped, or will soon."""
    waiting = vitals.amqp.tried_again
    problems = [
        f"{name}: {problem}{_wait(waiting.get(name, 0))}"
        for name, problem in vitals.amqp.unavailable.items()
    ]
    if overdue := vitals.amqp.overdue:
        problems.append(
            f"RabbitMQ neither confirms nor refuses {overdue} messages: a quorum queue that they go"
            " to may have no majority"
        )
    problems += [
        f"{count} of the {vitals.prefetch} messages that may be held of {queue} are waiting; at"
        " the limit, no more are taken"
        for queue, count in vitals.amqp.on_hold.items()
        if count >= vitals.prefetch * _ALARMING_SHARE
    ]
    return "; ".join(problems) or None


def _wait(count: int) -> str:
    return f" ({count} message{'s wait' if count > 1 else ' waits'} for it)" if count else ""


def _lost(link: Connectivity, before: str) -> str | None:
    return None if link.is_connected else link.error or before


def _not_fresh(vitals: Vitals) -> str | None:
    if vitals.consumption.is_open:
        return None
    if vitals.router.updated_at is None:
        return "no status update yet, and no agent has registered"
    return "the server has been gone for longer than BROKER_REGISTRY_TTL"
