"""Status updates that are not decoded yet: a memory channel bounded in bytes.

Everything else on the way to the router is bounded by waiting. The listener must not wait: the
server's heartbeats arrive on the same connection, behind the updates, and need a prompt answer even
while the router applies a large update. So TCP's flow control cannot bound what arrives, and
updates collect here. Trio bounds a channel by its number of items, but one update has a hundred
bytes and the next a hundred megabytes, hence the sum. Dropping or merging late updates would not
help: each may change other agents, and must be decoded first. If the backlog is full, the session
ends; in the next one the server sends a full update.
"""

import math

import trio

from broker.central.websocket import WebSocketError

_OVERHEAD = 1000
"""Bytes that an item takes in addition to its text."""


class Backlog[Item]:
    """Items for one reader, in order.

    Args:
        max_bytes: Limit for all waiting items. If none waits, one may be larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[Item, int]](math.inf)
        self._max_bytes = max_bytes
        self._bytes = 0

    def put(self, item: Item, size: int) -> None:
        """Append an item whose text has so many bytes. Does not wait.

        Raises:
            WebSocketError: There is no room.
        """
        size += _OVERHEAD
        if self._bytes and self._bytes + size > self._max_bytes:
            raise WebSocketError("status updates arrive faster than they can be applied")
        self._bytes += size
        self._send.send_nowait((item, size))

    async def take(self) -> Item:
        """Wait for the next item and remove it. If cancelled, removes nothing."""
        item, size = await self._receive.receive()
        self._bytes -= size
        return item
