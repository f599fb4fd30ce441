"""Which deliveries may be acknowledged: up to the first unsettled one, and around those on hold."""

from collections import deque
from collections.abc import Sequence


class SettlementWindow:
    """The unacknowledged deliveries of one channel.

    RabbitMQ numbers the deliveries of a channel upwards. They are settled in any order and
    acknowledged in the order of their tags, many with one acknowledgement. One that must wait for
    long is put on hold: those behind it are then acknowledged one by one, as an acknowledgement for
    many would include it.
    """

    def __init__(self) -> None:
        self._unacknowledged: deque[int] = deque()
        self._settled: set[int] = set()
        self._on_hold: set[int] = set()

    def __len__(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return len(self._unacknowledged) + len(self._on_hold)

    @property
    def on_hold(self) -> int:
        """How many deliveries are on hold."""
        return len(self._on_hold)

    @property
    def oldest(self) -> int | None:
        """The oldest delivery that is neither acknowledged nor on hold."""
        return self._unacknowledged[0] if self._unacknowledged else None

    def add(self, tag: int) -> None:
        """Take note of a delivery. Tags must grow."""
        self._unacknowledged.append(tag)

    def settle(self, tag: int) -> None:
        """Take note that a delivery needs nothing any more but its acknowledgement."""
        self._settled.add(tag)

    def hold(self, tag: int) -> None:
        """Let an unsettled delivery no longer hold back the acknowledgements of later ones."""
        if tag not in self._on_hold:
            # Near the left end, as it is among the oldest.
            self._unacknowledged.remove(tag)
            self._on_hold.add(tag)

    def hold_overtaken(self) -> None:
        """Put all unsettled deliveries on hold that are older than the latest settled one."""
        latest = max(self._settled, default=0)
        for tag in [tag for tag in self._unacknowledged if tag < latest]:
            if tag not in self._settled:
                self.hold(tag)

    def take_acknowledgeable(self) -> Sequence[tuple[int, bool]]:
        """Return what to acknowledge now, and forget it.

        Returns:
            Tags, each with whether the acknowledgement includes all before it; in this order.
        """
        one_by_one = self._settled & self._on_hold
        self._settled -= one_by_one
        self._on_hold -= one_by_one
        oldest_on_hold = min(self._on_hold) if self._on_hold else None
        last = 0
        while self._unacknowledged and self._unacknowledged[0] in self._settled:
            tag = self._unacknowledged.popleft()
            self._settled.remove(tag)
            if oldest_on_hold is None or tag < oldest_on_hold:
                last = tag
            else:
                one_by_one.add(tag)
        # RabbitMQ closes the channel when a tag is acknowledged twice.
        rest = [(tag, False) for tag in sorted(one_by_one) if tag > last]
        return [(last, True), *rest] if last else rest
