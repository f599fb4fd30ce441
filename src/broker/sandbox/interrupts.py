"""Ctrl-C: once to come to an end, twice to leave at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from broker.concurrency.signals import stop_signals


@dataclass(slots=True)
class Interrupts:
    """Turns signals into requests.

    Attributes:
        everything: What is cancelled when nothing can be stopped gracefully, or not fast enough.
        stop: Stops gracefully what is running; used once. None while there is nothing to stop.
    """

    everything: trio.CancelScope = field(default_factory=trio.CancelScope)
    stop: Callable[[], None] | None = None

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Catch signals until cancelled. Started once they are caught."""
        with trio.open_signal_receiver(*stop_signals()) as signals:
            task_status.started()
            async for _ in signals:
                if self.stop is None:
                    self.everything.cancel()
                else:
                    stop, self.stop = self.stop, None
                    stop()
