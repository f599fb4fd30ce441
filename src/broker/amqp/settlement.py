"""Which deliveries may be acknowledged: up to the first unsettled one, and around those on hold."""

from collections import deque
from collections.abc import Sequence


class SettlementWindow:
    """The unacknowledged deliveries of one channel.

    RabbitMQ numbers the deliveries of a channel upwards. They are settled in any order and
    acknowledged in the order of their tags, many with one acknowledgement. One that must wait for
    long is put on hold: those behind it are then acknowledged one by one, as an acknowledgement for
    many would include it.

    Attributes:
        oldest_since: When the oldest delivery that is not acknowledged arrived; None without any.
            Another thread may ask, too.
    """

    def __init__(self) -> None:
        self._unacknowledged: deque[int] = deque()
        self._settled: set[int] = set()
        # With the time when they arrived.
        self._on_hold: dict[int, float] = {}
        # The first delivery of each batch that is not acknowledged as a whole, and when it arrived.
        self._batches: deque[tuple[int, float]] = deque()
        self.oldest_since: float | None = None

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

    def begin_batch(self, tag: int, now: float) -> None:
        """Take note of when the delivery arrives that is added next, and those that follow it."""
        self._batches.append((tag, now))
        if self.oldest_since is None:
            self.oldest_since = now

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
            self._on_hold[tag] = self._arrived_at(tag)

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
        one_by_one = self._settled & self._on_hold.keys()
        self._settled -= one_by_one
        for tag in one_by_one:
            del self._on_hold[tag]
        oldest_on_hold = min(self._on_hold) if self._on_hold else None
        last = 0
        while self._unacknowledged and self._unacknowledged[0] in self._settled:
            tag = self._unacknowledged.popleft()
            self._settled.remove(tag)
            if oldest_on_hold is None or tag < oldest_on_hold:
                last = tag
            else:
                one_by_one.add(tag)
        self._forget_batches(oldest_on_hold)
        # RabbitMQ closes the channel when a tag is acknowledged twice.
        rest = [(tag, False) for tag in sorted(one_by_one) if tag > last]
        return [(last, True), *rest] if last else rest

    def _arrived_at(self, tag: int) -> float:
        return next(at for first, at in reversed(self._batches) if first <= tag)

    def _forget_batches(self, oldest_on_hold: int | None) -> None:
        """Drop the batches that are acknowledged or on hold."""
        batches = self._batches
        if self._unacknowledged:
            oldest = self._unacknowledged[0]
            while len(batches) > 1 and batches[1][0] <= oldest:
                batches.popleft()
        else:
            batches.clear()
        times = [batches[0][1]] if batches else []
        if oldest_on_hold is not None:
            times.append(self._on_hold[oldest_on_hold])
        self.oldest_since = min(times, default=None)
