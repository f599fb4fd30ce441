"""Name look-ups that a stop does not wait for."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import trio

type Addresses = Sequence[tuple[int, int, int, str, tuple[Any, ...]]]

_under_way: dict[tuple[str, int], Future[Addresses]] = {}


async def look_up(host: str, port: int) -> Addresses:
    """Return the addresses of a host, as `socket.getaddrinfo` does.

    asyncio asks the resolver in a thread of its executor, and both the end of the event loop and
    that of the process wait for such threads: up to minutes when the name service is silent. This
    one is a daemon that nobody waits for. A look-up whose caller was cancelled goes on, and
    serves the next caller who asks for the same: there is one thread for each host at most.

    Raises:
        OSError: The host has no address, or the name service does not say.
    """
    key = (host, port)
    mine: Future[Addresses] = Future()
    future = _under_way.setdefault(key, mine)
    if future is mine:
        # It cannot be cancelled from now on, as others may wait for it.
        mine.set_running_or_notify_cancel()
        trio.lowlevel.start_thread_soon(partial(_ask, key, mine), lambda _: None, "name look-up")
    return await asyncio.wrap_future(future)


def _ask(key: tuple[str, int], future: Future[Addresses]) -> None:
    try:
        addresses = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
    except Exception as error:  # noqa: BLE001 - raised by the tasks that wait
        del _under_way[key]
        future.set_exception(error)
    else:
        del _under_way[key]
        future.set_result(addresses)
