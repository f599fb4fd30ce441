"""Queues that are filled, watched and emptied; most of it blocks."""

import time
from collections.abc import Callable, Sequence

import trio

from tests.lab.amqp_connection import AmqpConnection
from tests.lab.raw_content import Content

_FIRST_DELIVERY_INTERVAL = 0.002
_PROGRESS_INTERVAL = 0.01
"""Seconds between two looks at a queue: little work for RabbitMQ, little error in a second."""
_STALLED_AFTER = 15.0


async def in_thread[*Ts, T](function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that blocks. When cancelled, it is left to itself: Ctrl-C works at once."""
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


def make_anew(connection: AmqpConnection, *queues: str, queue_type: str = "classic") -> None:
    """Delete durable queues with all that is in them, and create them."""
    connection.delete(*queues)
    # No argument for what is the default: that is how everybody else declares them.
    connection.declare(
        *queues, arguments={} if queue_type == "classic" else {"x-queue-type": queue_type}
    )


def fill(connection: AmqpConnection, queue: str, bodies: Sequence[bytes]) -> None:
    """Publish into an empty queue, and wait until it has everything."""
    connection.publish(queue, map(Content, bodies))
    wait_for(connection, [queue], len(bodies))


def ready(connection: AmqpConnection, queues: Sequence[str]) -> int:
    return sum(map(connection.ready, queues))


def wait_for_the_first(connection: AmqpConnection, queues: Sequence[str], messages: int) -> None:
    """Wait until queues have no longer so many messages.

    Raises:
        TimeoutError: None was taken for a quarter of a minute.
    """
    give_up_at = time.monotonic() + _STALLED_AFTER
    while ready(connection, queues) == messages:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"nothing was taken for {_STALLED_AFTER:g} s")
        time.sleep(_FIRST_DELIVERY_INTERVAL)


def wait_for(connection: AmqpConnection, queues: Sequence[str], messages: int) -> None:
    """Wait until queues have so many messages.

    Raises:
        TimeoutError: None came for a quarter of a minute.
    """
    arrived = 0
    give_up_at = time.monotonic() + _STALLED_AFTER
    while arrived < messages:
        before, arrived = arrived, ready(connection, queues)
        if arrived > before:
            give_up_at = time.monotonic() + _STALLED_AFTER
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{arrived} of {messages}, then nothing for {_STALLED_AFTER:g} s")
        time.sleep(_PROGRESS_INTERVAL)
