"""What simulations are made of: a clock, machines with cores, and processes that share them."""

import heapq
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

TURN = 64
"""Messages that a process handles at most before others have their turn on its core."""

type Then[T] = Callable[[list[T]], None]


class Clock:
    """Simulated time, in seconds.

    Attributes:
        now: The time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        # What happens at the same time happens in the order in which it was asked for.
        self._numbers = count()

    def after(self, delay: float, event: Callable[[], None]) -> None:
        """Let something happen, not before what is asked for already and due by then."""
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), event))

    def run(self) -> None:
        """Let everything happen until nothing is left."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()


class Machine:
    """Cores, and a queue of processes that want one.

    Args:
        clock: The time.
        cores: How many.

    Attributes:
        busy: Seconds that its cores have worked, together.
    """

    def __init__(self, clock: Clock, cores: int) -> None:
        self.busy = 0.0
        self._clock = clock
        self._idle = cores
        self._waiting: deque[Process] = deque()

    def want(self, process: "Process") -> None:
        """Give a process a core, as soon as one is free."""
        if self._idle:
            self._idle -= 1
            self._run(process)
        else:
            self._waiting.append(process)

    def _run(self, process: "Process") -> None:
        seconds, finish = process.turn()
        self.busy += seconds

        def end() -> None:
            finish()
            if self._waiting:
                self._run(self._waiting.popleft())
            else:
                self._idle += 1

        self._clock.after(seconds, end)


class Process:
    """Handles what it is given in order, on one core at a time.

    An Erlang process, or a broker: Python uses one core, too.

    Args:
        machine: Where it runs.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._mailbox: deque[tuple[int, float, Callable[[], None]]] = deque()
        self._wants = False

    def put[T](self, items: list[T], cost: float, then: Then[T]) -> None:
        """Give it some messages.

        Args:
            items: The messages.
            cost: Processor seconds of each.
            then: Gets them when they are done, in batches.
        """
        for start in range(0, len(items), TURN):
            some = items[start : start + TURN]
            size = len(some)
            self._mailbox.append((size, size * cost, partial(then, some)))
        if self._mailbox and not self._wants:
            self._wants = True
            self._machine.want(self)

    def turn(self) -> tuple[float, Callable[[], None]]:
        """Take as much as one turn allows; for its machine.

        Returns:
            How long it takes, and what to call afterwards.
        """
        taken, seconds = 0, 0.0
        done: list[Callable[[], None]] = []
        while self._mailbox and (not done or taken + self._mailbox[0][0] <= TURN):
            size, cost, then = self._mailbox.popleft()
            taken, seconds = taken + size, seconds + cost
            done.append(then)

        def finish() -> None:
            self._wants = False
            for then in done:
                then()
            # What came meanwhile, or by itself, waits behind the others that want the core.
            if self._mailbox and not self._wants:
                self._wants = True
                self._machine.want(self)

        return seconds, finish
