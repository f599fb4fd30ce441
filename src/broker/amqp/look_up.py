"""Name look-ups that a stop does not wait for."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from broker.amqp.daemon_thread import in_thread

type Addresses = Sequence[tuple[int, int, int, str, tuple[Any, ...]]]

_under_way: dict[tuple[str, int], Future[Addresses]] = {}


async def look_up(host: str, port: int) -> Addresses:
    """Return the addresses of a host, as `socket.getaddrinfo` does.

    A look-up whose caller was cancelled goes on, and serves the next caller who asks for the same:
    there is one thread for each host at most.

    Raises:
        OSError: The host has no address, or the name service does not say.
    """
    key = (host, port)
    future = _under_way.get(key)
    if future is None:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        future = _under_way[key] = in_thread(ask)
        # Before those who wait are told: each question after the answer is asked anew.
        future.add_done_callback(lambda _: _under_way.pop(key, None))
    return await asyncio.wrap_future(future)
