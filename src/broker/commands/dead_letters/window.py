"""The dead-letter queue as it was at the beginning, a window at a time."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain, islice

import msgspec

from broker.amqp import Session
from broker.commands.dead_letters.gathering import Gathering
from broker.commands.dead_letters.letter import Letter

SIZE = 100
"""Messages that are in memory at once, and that an untimely end may bring twice."""


class Window(msgspec.Struct, frozen=True):
    """Messages that followed each other.

    Attributes:
        chosen: Those that are wanted, in the order of the queue.
        seen: How many were looked at by now, these included.
        total: How many there were at the beginning.
    """

    chosen: Sequence[Letter]
    seen: int
    total: int


async def windows(
    session: Session, queue: str, *, is_wanted: Callable[[Letter], bool], limit: int | None
) -> AsyncIterator[Window]:
    """Yield what was in the queue at the beginning, oldest first.

    What comes meanwhile is left alone, so it ends even when each letter that is replayed comes
    back at once. What others consume meanwhile is missing. RabbitMQ holds what was looked at until
    the session ends, and then puts it back in its place, unless it was acknowledged. (Quorum
    queues put it back at their head, in an order of their own.) A letter in parts comes when its
    last part does, and at the end if parts are missing.

    Args:
        session: An open session.
        queue: The dead-letter queue.
        is_wanted: Chooses letters; called once for each, in their order, up to the limit.
        limit: How many to choose at most.

    Raises:
        AmqpError: There is no such queue, or the session was lost.
    """
    seen, total, chosen = 0, SIZE, 0
    gathering = Gathering()
    while seen < total and chosen != limit:
        wanted = min(SIZE, total - seen)
        got = await session.get(queue, wanted)
        if seen == 0:
            total = got[0].behind + 1 if got else 0
        is_last = seen + len(got) >= total or len(got) < wanted
        numbered = enumerate(got[: total - seen], seen + 1)
        letters: Iterator[Letter] = filter(None, (gathering.add(*one) for one in numbered))
        if is_last:
            letters = chain(letters, gathering.incomplete())
        window = list(islice(filter(is_wanted, letters), limit and limit - chosen))
        seen = min(seen + len(got), total)
        chosen += len(window)
        if window or got:
            yield Window(window, seen, total)
        if is_last:
            return
