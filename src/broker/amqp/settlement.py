"""Which deliveries may be acknowledged: up to the first unsettled one, and no further."""

from collections import deque


class SettlementWindow:
    """The unacknowledged deliveries of one channel.

    RabbitMQ numbers the deliveries of a channel upwards. They are settled in any order and
    acknowledged in the order of their tags, many with one acknowledgement.
    """

    def __init__(self) -> None:
        self._unacknowledged: deque[int] = deque()
        self._settled: set[int] = set()

    def __len__(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return len(self._unacknowledged)

    def add(self, tag: int) -> None:
        """Take note of a delivery. Tags must grow."""
        self._unacknowledged.append(tag)

    def settle(self, tag: int) -> None:
        """Take note that a delivery needs nothing any more but its acknowledgement."""
        self._settled.add(tag)

    def take_acknowledgeable(self) -> int | None:
        """Return the tag to acknowledge with `multiple`, and forget all up to it.

        Returns:
            The last tag of the unbroken run of settled deliveries, or None when the oldest
            delivery is still unsettled.
        """
        last = None
        while self._unacknowledged and self._unacknowledged[0] in self._settled:
            last = self._unacknowledged.popleft()
            self._settled.remove(last)
        return last
