"""Watches that messages go on coming out, whatever happens meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tests.faults.base_environment import BaseEnvironment

_INTERVAL = 0.1


@asynccontextmanager
async def steady(
    env: BaseEnvironment, *, gap: float, interval: float = _INTERVAL
) -> AsyncIterator[None]:
    """See that messages come out all the time while the block runs. There must be some to route.

    The longest gap counts as a time to recover.

    Args:
        gap: Seconds without a message that are too many.
    """
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        routed, since = -1, trio.current_time()
        while True:
            asked_at = trio.current_time()
            now_routed = await env.routed()
            longest = max(longest, asked_at - since)
            assert longest <= gap, f"no message was routed for {longest:.1f} s"
            if now_routed != routed:
                routed, since = now_routed, asked_at
            await trio.sleep(interval)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()
    env.figures.recoveries.append(longest)
