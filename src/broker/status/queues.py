"""The queues of the pipeline, in the order in which messages walk through them."""

from broker.amqp import QueueCounts
from broker.status.model import QueueRole, QueueState, QueueStatus
from broker.status.vitals import Vitals


def queues(vitals: Vitals) -> list[QueueStatus]:
    """Return what is known of each queue."""
    topology, is_held = vitals.queues, vitals.router.holding.seconds > 0
    roles: dict[QueueRole, tuple[str, ...]] = {
        "input": topology.inputs,
        "output": topology.outputs,
        "dead_letter": (topology.dead_letter,),
        "held": (topology.held,) if is_held else (),
    }
    counts = vitals.amqp.counts
    return [_queue(role, name, counts.get(name)) for role, names in roles.items() for name in names]


def _queue(role: QueueRole, name: str, counts: QueueCounts | None) -> QueueStatus:
    if counts is None:
        return QueueStatus(role, name)
    state: QueueState = "ok"
    if role in {"input", "output"}:
        state = "unread" if counts.is_unread else "growing" if counts.is_growing else "ok"
    return QueueStatus(role, name, counts.messages, counts.consumers, counts.growth, state)
