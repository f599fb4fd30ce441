"""Calls that may block for long, out of the event loop's way."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

_AT_ONCE = 32
"""Calls that may hang before others fail at once: nothing else bounds the number of threads."""
_free = threading.BoundedSemaphore(_AT_ONCE)


async def in_daemon_thread[T](function: Callable[[], T]) -> T:
    """Call a function in a thread of its own, and return what it returns.

    When cancelled, the thread is left to itself. It holds up neither the event loop's end nor that
    of the process, as a thread of asyncio's own pool would: a file in a network may not answer.

    Args:
        function: What may block. What it raises is raised here.

    Raises:
        TimeoutError: Too many calls hang already.
    """
    if not _free.acquire(blocking=False):
        raise TimeoutError
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if outcome.done():  # cancelled
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # None only when T is

    def call() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised by the one who waits
            failure = error
        finally:
            _free.release()
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(partial(settle, result, failure))

    threading.Thread(target=call, name="blocking call", daemon=True).start()
    return await outcome
