"""How long to wait before the next try: exponential back-off with full jitter.

Full jitter keeps many brokers from coming back at the same moments after an outage; see
"Exponential Backoff And Jitter" in the AWS Architecture Blog. The libraries for retries offer no
wait that an event can end early, so the pauses are computed here and waited for where needed.
"""

from collections.abc import Callable
from random import random


class Backoff:
    """The pauses between tries.

    Args:
        initial: Upper bound of the first pause, in seconds.
        maximum: Upper bound of all pauses, in seconds. Nobody tells the broker that a peer is
            back, and messages wait meanwhile.
    """

    def __init__(
        self,
        *,
        initial: float = 0.5,
        maximum: float = 10.0,
        random: Callable[[], float] = random,
    ) -> None:
        self._initial = initial
        self._maximum = maximum
        self._random = random
        self._bound = initial

    def next(self) -> float:
        """Return the next pause, in seconds: anything up to a bound that doubles each time."""
        bound = self._bound
        self._bound = min(bound * 2, self._maximum)
        return self._random() * bound

    def longest(self) -> float:
        """Return the longest pause, for a failure that trying again soon will not mend."""
        self._bound = self._maximum
        return self._maximum

    def after(self, lifetime: float) -> float:
        """Return the next pause after something ended that had lived for so many seconds.

        What lived longer than the longest pause was sound: the pauses start again.
        """
        if lifetime > self._maximum:
            self._bound = self._initial
        return self.next()
