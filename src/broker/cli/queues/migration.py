"""How a queue gets another type: which step comes next, whatever was done before.

RabbitMQ cannot change a queue's type. So its messages move to a temporary queue, the queue is
deleted and created anew, and they move back. What to do next is told by what is there alone: a run
that ends at any point is continued by the next.

    queue     temporary  marker   next
    -------   ---------  ------   -------------------------------------------------------------
    missing   missing    any      create the queue
    wanted    missing    no       nothing
    wanted    missing    yes      remove the marker
    other     missing    any      remove a marker that was left, create the temporary queue
    exists    exists     no       move the queue's messages to the temporary one, delete the queue
    missing   exists     any      create the queue, then the marker
    exists    exists     yes      move them back, delete the temporary queue

The marker is the exchange by which messages move back. Without it, a queue that a broker or an
interrupted run created meanwhile could not be told from one that is being filled again, and what
is in it would come before older messages.
"""

from enum import Enum, auto

import msgspec

from broker.amqp.admin import QueueState, QueueType

MAX_NAME_BYTES = 240
"""AMQP's names have 255 bytes; those below need more than the queue's."""


def temporary_queue(queue: str) -> str:
    """Return the name of the queue where messages wait, and of the exchange that leads there."""
    return f"{queue}.migrating"


def way_back(queue: str) -> str:
    """Return the name of the exchange that leads back to the queue."""
    return f"{queue}.migrated"


def lock(queue: str) -> str:
    """Return the name of the lock that one migration at a time has."""
    return f"{queue}.migrating.lock"


class Step(Enum):
    """What to do next."""

    NOTHING = auto()
    CREATE = auto()
    BEGIN = auto()
    MOVE_OUT = auto()
    RECREATE = auto()
    MOVE_BACK = auto()
    CLEAR = auto()


class Seen(msgspec.Struct, frozen=True):
    """The queue, its temporary queue, and whether there is the marker."""

    queue: QueueState | None
    temporary: QueueState | None
    is_marked: bool


def next_step(seen: Seen, wanted: QueueType) -> Step:
    """Return what to do next."""
    match seen:
        case Seen(queue=None, temporary=None):
            return Step.CREATE
        case Seen(queue=None):
            return Step.RECREATE
        case Seen(queue=QueueState(type=kind), temporary=None):
            if kind != wanted:
                return Step.BEGIN
            return Step.CLEAR if seen.is_marked else Step.NOTHING
    return Step.MOVE_BACK if seen.is_marked else Step.MOVE_OUT


def obstacle(queue: str, seen: Seen, wanted: QueueType) -> str | None:
    """Return why a queue cannot be migrated now, in a line for a person."""
    if len(queue.encode()) > MAX_NAME_BYTES:
        return f"{queue!r} has a name of more than {MAX_NAME_BYTES} bytes"
    if next_step(seen, wanted) in {Step.NOTHING, Step.CLEAR}:
        return None
    for name, state in ((queue, seen.queue), (temporary_queue(queue), seen.temporary)):
        if state is not None and (problem := _obstacle(name, state)) is not None:
            return problem
    return None


def _obstacle(name: str, state: QueueState) -> str | None:
    match state:
        case QueueState(consumers=count) if count:
            return (
                f"{name!r} is read by {count} consumer{'s' if count > 1 else ''}: stop the brokers "
                "and the central server, and all publishers"
            )
        case QueueState(differs_in="durable" | "auto_delete" | "exclusive" as difference):
            return f"{name!r} is not a durable queue ({difference} differs): delete it yourself"
        case QueueState(differs_in=str(argument)):
            return f"{name!r} would lose its argument {argument}: recreate it with a policy instead"
        case QueueState(type=None):
            return f"the type of {name!r} is not known: may the user configure it?"
        case QueueState(type=kind) if kind not in {"classic", "quorum"}:
            return f"{name!r} is a {kind}: only classic and quorum queues can be migrated"
    return None
