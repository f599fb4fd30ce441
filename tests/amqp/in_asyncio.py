"""Tests that run in an asyncio event loop of their own; others run in Trio."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

type AsyncTest[**P] = Callable[P, Coroutine[Any, Any, None]]


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still unless it is put forward.

    Timers then depend on the test alone, and not on how long the machine takes for it.
    """

    # A clock that reads zero could be taken for one that was never read.
    now = 1_000.0

    def time(self) -> float:
        return self.now


def in_asyncio[**P](
    test: AsyncTest[P], *, loop: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
) -> Callable[P, None]:
    @wraps(test)
    def run(*args: P.args, **options: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(*args, **options))

    return run


def in_stopped_time[**P](test: AsyncTest[P]) -> Callable[P, None]:
    """Run a test in a `SkippingLoop`; see `passes`."""
    return in_asyncio(test, loop=SkippingLoop)


async def passes(seconds: float) -> None:
    """Put the clock of a `SkippingLoop` forward, and let happen what is due."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.now += seconds
    for _ in range(5):
        await asyncio.sleep(0)
