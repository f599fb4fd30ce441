"""Tests that run in an asyncio event loop of their own; others run in Trio."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps


def in_asyncio[**P](test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    @wraps(test)
    def run(*args: P.args, **options: P.kwargs) -> None:
        async def act() -> None:
            await test(*args, **options)

        asyncio.run(act())

    return run


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still unless it is put forward.

    Timers then depend on the test alone, and not on how long the machine takes for it.
    """

    # A clock that reads zero could be taken for one that was never read.
    now = 1_000.0

    def time(self) -> float:
        return self.now
