"""The dead-letter queue as it was at the beginning, a window at a time."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain, islice

import msgspec

from broker.amqp.admin import DELIVERY_COUNT_HEADER, AdminSession, Got
from broker.cli.dead_letters.gathering import Gathering
from broker.cli.dead_letters.letter import Letter

SIZE = 100
"""Messages that are in memory at once, and that an untimely end may bring twice."""
_RENEWED_AT = 10
"""Returns of a message. RabbitMQ 4 has a quorum queue drop a message at its 21st return, and every
look at it is one, so it is published anew long before."""


class Window(msgspec.Struct, frozen=True):
    """Messages that followed each other.

    Attributes:
        seen: How many were looked at by now, these included.
        total: How many there were at the beginning.
    """

    chosen: Sequence[Letter]
    seen: int
    total: int


async def newest(windows: AsyncIterator[Window], count: int) -> AsyncIterator[Window]:
    """Walk through windows, and yield the last letters of all of them in the last window.

    Args:
        count: How many at most; as many are in memory.
    """
    last = Window((), 0, 0)
    chosen = deque[Letter](maxlen=count)
    async for last in windows:
        chosen.extend(last.chosen)
        yield msgspec.structs.replace(last, chosen=())
    yield msgspec.structs.replace(last, chosen=tuple(chosen))


async def windows(
    session: AdminSession, queue: str, *, is_wanted: Callable[[Letter], bool], limit: int | None
) -> AsyncIterator[Window]:
    """Yield what was in the queue at the beginning, oldest first.

    What comes meanwhile is left alone, so it ends even when each letter that is replayed comes
    back at once. What others consume meanwhile is missing. RabbitMQ holds what was looked at until
    the session ends, and then puts it back in its place, unless it was acknowledged. (Quorum
    queues put it back at their head, in an order of their own. What they have had back too often
    goes to their end, and is yielded when its turn comes.) A letter in parts comes when its
    last part does, and at the end if parts are missing.

    Args:
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
        is_empty = len(got) < wanted
        worn = [message for message in got if _returns(message) >= _RENEWED_AT]
        if worn:
            renewed = {message.tag for message in await session.renew(queue, worn)}
            got = [message for message in got if message.tag not in renewed]
            is_empty = is_empty and not renewed
        is_last = seen + len(got) >= total or is_empty
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


def _returns(message: Got) -> int:
    count = message.headers.get(DELIVERY_COUNT_HEADER)
    return count if isinstance(count, int) else 0
