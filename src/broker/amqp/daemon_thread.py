"""Calls that may block for long, in threads that nothing waits for.

Threads of asyncio's own executor would hold up both the end of the event loop and that of the
process: up to minutes when a name service or a file in a network does not answer.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

type Addresses = Sequence[tuple[int, int, int, str, tuple[Any, ...]]]

_AT_ONCE = 32
"""Calls that may hang before others fail at once: nothing else bounds the number of threads."""
_free = threading.BoundedSemaphore(_AT_ONCE)
_look_ups: dict[tuple[str, int], Future[Addresses]] = {}


def _in_thread[T](function: Callable[[], T]) -> Future[T]:
    """Start a daemon thread that calls a function; the future cannot be cancelled."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def call() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised by those who wait
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=call, name="blocking call", daemon=True).start()
    return future


async def in_daemon_thread[T](function: Callable[[], T]) -> T:
    """Call a function in a thread of its own, and return what it returns.

    When cancelled, the thread is left to itself.

    Raises:
        TimeoutError: Too many calls hang already.
    """
    if not _free.acquire(blocking=False):
        raise TimeoutError
    future = _in_thread(function)
    future.add_done_callback(lambda _: _free.release())
    return await asyncio.wrap_future(future)


async def look_up(host: str, port: int) -> Addresses:
    """Return the addresses of a host, as `socket.getaddrinfo` does.

    A look-up whose caller was cancelled goes on, and serves the next caller who asks for the same:
    there is one thread for each host at most.

    Raises:
        OSError: The host has no address, or the name service does not say.
    """
    key = (host, port)
    future = _look_ups.get(key)
    if future is None:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        future = _look_ups[key] = _in_thread(ask)
        # Before those who wait are told: each question after the answer is asked anew.
        future.add_done_callback(lambda _: _look_ups.pop(key, None))
    return await asyncio.wrap_future(future)
