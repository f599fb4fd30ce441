"""Whether the broker works, in a sentence: the first thing that people see of it.

What comes first hides what follows from it: without RabbitMQ nobody knows the queues, and without
the server nobody reads the output.
"""

from collections.abc import Sequence

from broker.status.model import QueueRole, QueueState, QueueStatus, Status, Verdict
from broker.status.wording import duration, messages

_STOPPING = Verdict(
    "warn",
    "Stopping",
    "The broker finishes the messages it holds, then exits. New messages wait in RabbitMQ.",
)
_NOBODY_ONLINE = Verdict(
    "warn",
    "Routing, but no agent is online",
    "Senders get an error back. The central server reports which agents are online.",
)
_ALL_WELL = Verdict("good", "Routing", "Messages are routed, and all checks pass.")


def verdict(status: Status) -> Verdict:
    """Return what all of a status means, except for its own verdict."""
    if status.state == "stopping":
        return _STOPPING
    return _paused(status) or _not_ready(status) or _routing(status)


def _paused(status: Status) -> Verdict | None:
    rabbitmq, server = status.connections.rabbitmq, status.connections.server
    waiting = _waiting(status)
    if rabbitmq.state == "connecting":
        end = "The broker retries, and continues by itself."
        return Verdict("bad", "Paused: no connection to RabbitMQ", f"{waiting} {end}")
    if rabbitmq.state == "blocked":
        end = "It continues when RabbitMQ has memory and disk space again."
        return Verdict("bad", "Paused: RabbitMQ blocks publishing", f"{waiting} {end}")
    if status.state != "paused":
        return None
    if status.registry.is_fresh:
        end = "It continues as soon as RabbitMQ lets the queue be consumed."
        return Verdict("bad", "Paused", f"{waiting} {end}")
    if server.state == "connected":
        end = "It continues with the next status update of the central server."
        return Verdict("bad", "Paused: the online agents are not known", f"{waiting} {end}")
    end = "It continues when the server is back and sends a status update."
    return Verdict("bad", "Paused: no connection to the central server", f"{waiting} {end}")


def _waiting(status: Status) -> str:
    """Say since when nothing is routed, and how much waits for it."""
    since = status.paused_since
    idle = (
        "Nothing is routed"
        if since is None
        else f"Nothing has been routed for {duration(_now(status) - since.timestamp())}"
    )
    inputs = [queue for queue in status.queues if queue.role == "input"]
    counts = [queue.messages for queue in inputs if queue.messages is not None]
    if not counts or len(counts) < len(inputs):
        return f"{idle}. No message is lost: messages wait in RabbitMQ."
    return f"{idle}; {messages(sum(counts), 'wait')} in {_names(inputs)}."


def _not_ready(status: Status) -> Verdict | None:
    if status.ready:
        return None
    if status.connections.server.state == "connected":
        why = "Messages are routed. See the failed checks."
        return Verdict("warn", "Routing, but a check fails", why)
    why = "Messages are routed by the last known status."
    if status.pauses_at is not None:
        left = duration(max(0.0, status.pauses_at.timestamp() - _now(status)))
        why = f"Routing pauses in {left} unless the server is back."
    unread = _some(status, "output", "unread")
    if unread:
        why += f" Nobody reads {_names(unread)}: {_count(unread)} waiting."
    return Verdict("warn", "Routing, but without the central server", why)


def _routing(status: Status) -> Verdict:
    if unread := _some(status, "output", "unread"):
        return Verdict(
            "warn",
            f"Routing, but nobody reads {_names(unread)}: {_count(unread)} waiting",
            "Messages are routed, and do not arrive. Check that the central server consumes it.",
        )
    if slow := _some(status, "output", "growing"):
        return Verdict(
            "warn",
            f"Routing, but {_names(slow)} is read too slowly: {_count(slow)} waiting",
            f"It grows by {_growth(slow)} messages per second. Check the load of the central "
            "server.",
        )
    if status.registry.online == 0:
        return _NOBODY_ONLINE
    if backlog := _some(status, "input", "growing"):
        return Verdict(
            "warn",
            f"Routing, but more arrives than is routed: {_count(backlog)} waiting",
            f"{_names(backlog)} grows by {_growth(backlog)} messages per second.",
        )
    return _ALL_WELL


def _some(status: Status, role: QueueRole, state: QueueState) -> Sequence[QueueStatus]:
    return [queue for queue in status.queues if queue.role == role and queue.state == state]


def _names(queues: Sequence[QueueStatus]) -> str:
    first, *others = (queue.name for queue in queues)
    return first if not others else f"{first} and {len(others)} more"


def _count(queues: Sequence[QueueStatus]) -> str:
    return f"{sum(queue.messages or 0 for queue in queues):,}"


def _growth(queues: Sequence[QueueStatus]) -> str:
    return f"{sum(queue.growth or 0.0 for queue in queues):,.0f}"


def _now(status: Status) -> float:
    return status.started_at.timestamp() + status.uptime_seconds
