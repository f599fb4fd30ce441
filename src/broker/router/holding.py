"""Hold messages that nobody can receive, and look at them again.

They wait in a queue of RabbitMQ. A pass consumes that queue: what can be routed by now is routed,
what has waited long enough is answered by an ERROR, and the rest is published to the end of the
queue again. A pass is over when a message comes that this pass has put there, or when none comes
any more. Passes follow each other with pauses, so an agent that comes and goes all the time, or a
queue that is long, leaves most of the time to new messages.

Several brokers share the queue, and each makes passes of its own: all learn by themselves who has
come. None knows of messages that came to the queue behind its latest pass: those that others hold,
and those that a broker had taken out when it died, although somebody has come since who may receive
them. So as long as there are any in the queue, another pass follows after a while, and before any
of them can be due.
"""

import math
import secrets
import time
from collections.abc import Callable

import structlog
import trio

from broker.amqp import Held
from broker.concurrency.wakeup import Gate, Wakeup
from broker.core.agent import Agent

_QUIET = 0.2
"""Seconds without a delivery after which the queue counts as empty."""
_LEAST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0
"""Seconds between two passes: as long as the last one took, within these bounds."""
_AGAIN = 10.0
_TIMES = 20
"""Seconds from the beginning of a pass to the next one at the latest, or so many times as long as
it took, if that is more."""
_INTERVAL = 1.0
"""Seconds between two looks at whether something is held at all."""

_log = structlog.get_logger(__name__)


def wall_clock() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Holding:
    """Knows how long messages are held, and when to look at them again.

    Attributes:
        gate: Open during a pass: then the queue of held messages is consumed.
        seconds: How long messages are held; 0 is not at all.
        earliest: When the first of the messages known here is due, in milliseconds since 1970;
            infinite if there is none.

    Args:
        clock: Returns milliseconds since 1970.
    """

    def __init__(self, seconds: float, clock: Callable[[], int] = wall_clock) -> None:
        self.gate = Gate()
        self.earliest = math.inf
        self.seconds = seconds
        self._clock = clock
        self._look = ""
        self._has_come_round = False
        self._somebody_came = True  # as far as those know who were held before the start
        self._deliveries = 0
        self._again_at = -math.inf
        self._changed = Wakeup()

    def hold(self, held: Held | None, expiration: str | None) -> Held | None:
        """Return how a message that nobody can receive is held; None if it must wait no longer.

        Args:
            held: How it was held before, if it was.
            expiration: The AMQP property of one that was not.
        """
        now, most = self._clock(), round(self.seconds * 1_000)
        if held is None:
            held = Held(now + most, now, "", expiration)
        # By the shorter time, if that was changed meanwhile; without any, nothing is held.
        until = min(held.until, held.since + most)
        return held._replace(until=until, look=self._look) if now < until else None

    def seconds_held(self, held: Held) -> float:
        """Return for how long a message has been held."""
        return max(0, self._clock() - held.since) / 1_000

    def note(self, held: Held) -> None:
        """Take note of a message that is held, or held again."""
        self.earliest = min(self.earliest, held.until)

    def seen(self, held: Held | None) -> None:
        """Take note of a message that has come out of the queue."""
        self._deliveries += 1
        if held is not None and self._look and held.look == self._look:
            self._has_come_round = True
        self._changed.set()

    def arrived(self, agent: Agent) -> None:  # noqa: ARG002 - whoever it is, somebody may wait
        """Look at the messages again: an agent has come that may receive some."""
        self._somebody_came = True
        self._changed.set()

    def departed(self, agent_id: str) -> None:
        """Do nothing: who leaves is of no use to those who wait."""

    async def run(
        self,
        *,
        may_pass: Callable[[], bool],
        is_consumed: Callable[[], bool],
        count: Callable[[], int | None],
    ) -> None:
        """Make passes when they are due, until cancelled.

        Args:
            may_pass: Whether messages may be routed and published now.
            is_consumed: Whether RabbitMQ has a consumer of the queue.
            count: How many messages are in the queue; None when that is not known.
        """
        pause = 0.0
        while True:
            await trio.sleep(pause)
            while not (may_pass() and not is_consumed() and self._is_due(count())):
                with trio.move_on_after(self._until_next_look()):
                    await self._changed.wait()
            began = trio.current_time()
            await self._pass(may_pass, is_consumed)
            took = trio.current_time() - began
            self._again_at = began + min(max(_AGAIN, _TIMES * took), self.seconds)
            pause = min(max(took, _LEAST_PAUSE), _LONGEST_PAUSE)

    def _is_due(self, count: int | None) -> bool:
        if self._clock() >= self.earliest:
            return True
        if count == 0:
            return False
        return self._somebody_came or trio.current_time() >= self._again_at

    def _until_next_look(self) -> float:
        # Something may be due for long while nothing can be published.
        return min(_INTERVAL, max(_LEAST_PAUSE, (self.earliest - self._clock()) / 1_000))

    async def _pass(self, may_pass: Callable[[], bool], is_consumed: Callable[[], bool]) -> None:
        self._look = secrets.token_hex(8)
        self._has_come_round = self._somebody_came = False
        self.earliest = math.inf  # whatever is held still says so again
        self._deliveries = 0
        self.gate.open()
        try:
            while not self._has_come_round:
                with trio.move_on_after(_QUIET) as quiet:
                    await self._changed.wait()
                if quiet.cancelled_caught and is_consumed() and may_pass():
                    break
        finally:
            self.gate.close()
        _log.debug("held_messages_looked_at", deliveries=self._deliveries)
