"""What a session has heard and not decoded yet: a memory channel, bounded in bytes.

The listener answers the server's heartbeats, which come among its other frames. So it reads on
while the router applies a large status update, and cannot leave what follows to TCP: a heartbeat
behind it would go unanswered. It puts updates in here instead, and the task that decodes them waits
for the router. Trio counts the items of a channel, but one update is of a hundred bytes and the
next of a hundred megabytes; hence the sum. Updates that are late are neither dropped nor merged:
each changes the registry, and none can be merged before it is decoded. A server that keeps sending
more than the broker can apply loses the session, and tells everything anew in the next one.
"""

import math

import trio

from broker.central.websocket import WebSocketError

_OVERHEAD = 1000
"""Bytes that an item takes apart from its text."""


class Backlog[Item]:
    """Items for one reader, in order.

    Args:
        max_bytes: Of all items that wait. One that comes while none waits may be larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self._send, self._receive = trio.open_memory_channel[tuple[Item, int]](math.inf)
        self._max_bytes = max_bytes
        self._bytes = 0

    def put(self, item: Item, size: int) -> None:
        """Append an item. Does not wait.

        Args:
            item: The item.
            size: The bytes of its text.

        Raises:
            WebSocketError: There is no room.
        """
        size += _OVERHEAD
        if self._bytes and self._bytes + size > self._max_bytes:
            raise WebSocketError("status updates arrive faster than they can be applied")
        self._bytes += size
        self._send.send_nowait((item, size))

    async def take(self) -> Item:
        """Wait for an item, and remove it. Cancelled, it removes nothing."""
        item, size = await self._receive.receive()
        self._bytes -= size
        return item
