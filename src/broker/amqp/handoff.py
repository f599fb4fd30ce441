"""Items from one event loop's thread to another's, many with one wake-up."""

from collections import deque
from collections.abc import Callable, Sequence


class Handoff[T]:
    """Collects items in one thread and hands them over together in another.

    Waking the other thread costs far more than an item, so there is at most one wake-up under way:
    what is put meanwhile goes along with it. Extending a deque by a list and taking from it are
    atomic, and the flag is lowered *before* the deque is emptied: what is put after that finds the
    flag down and asks for a wake-up of its own, so nothing is left behind.

    Args:
        schedule: Runs a function soon in the receiving thread. Called in the sending one.
        deliver: Called in the receiving thread with the items in order. Must not raise.
    """

    def __init__(
        self,
        schedule: Callable[[Callable[[], None]], None],
        deliver: Callable[[Sequence[T]], None],
    ) -> None:
        self._schedule = schedule
        self._deliver = deliver
        self._items: deque[T] = deque()
        self._scheduled = False

    def put(self, items: list[T]) -> None:
        """Hand over items, in the order of the calls. Does not wait."""
        self._items.extend(items)
        if not self._scheduled:
            self._scheduled = True
            self._schedule(self._hand_over)

    def _hand_over(self) -> None:
        self._scheduled = False
        items = []
        while self._items:
            items.append(self._items.popleft())
        if items:
            self._deliver(items)
