"""Dead letters that RabbitMQ itself made, following a policy or a queue's arguments."""

from collections.abc import Mapping
from datetime import UTC, datetime

from broker.amqp.dead_letter import Parked
from broker.amqp.wire.properties import REPLAYS_HEADER, count_replays

_MAX_BYTES = 255
_ERRORS = {
    "delivery_limit": "returned more often than the queue's delivery limit allows",
    "expired": "waited longer than its time to live",
    "maxlen": "there was no room for it in the queue",
    "rejected": "a consumer rejected it",
}


def read_rabbitmqs_dead_letter(headers: Mapping[str, object]) -> Parked | None:
    """Read what RabbitMQ wrote into `x-death`, or somebody else pretends that it did.

    Args:
        headers: AMQP headers, with values of any kind.

    Returns:
        What the latest entry says, None when there is none.
    """
    match headers.get("x-death"):
        case [
            {"reason": str(reason), "queue": str(queue), "time": datetime() as time},
            *_,
        ] if reason and queue and max(map(_size, (reason, queue))) <= _MAX_BYTES:
            error = _ERRORS.get(reason, "see the header x-death")
            at = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
            replays = count_replays(headers.get(REPLAYS_HEADER))
            return Parked(reason, f"RabbitMQ: {error}", queue, "", at, replays)
    return None


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))
