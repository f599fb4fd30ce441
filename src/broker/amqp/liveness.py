"""Whether the thread of the asyncio event loop makes progress."""

import asyncio

from anyio.from_thread import BlockingPortal


async def answer_of(portal: BlockingPortal) -> None:
    """Return when the event loop behind a portal has taken a turn.

    May be cancelled at any time, also when the loop never answers.
    """
    await portal.call_async(asyncio.sleep, 0, abandon_on_cancel=True)
