"""The signals that ask a process to stop: SIGINT, SIGTERM and SIGHUP."""

import math
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from broker.concurrency.deferred_signals import DEFERRED

_ONE_SIGNAL = 0.2
"""Seconds within which signals count as one: Ctrl-C reaches the process from the terminal and once
more from a wrapper that forwards it."""
_ONE_HANGUP = 5.0
"""Likewise for SIGHUP: a shell whose terminal closes passes it on, and the kernel sends another one
when the shell has ended."""


async def watch_stop_signals(
    requested: Callable[[signal.Signals], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Report each request to stop, until cancelled. What comes together counts as one request.

    A SIGHUP that is ignored stays ignored: `nohup` starts a process that way so that it survives
    its terminal. Started once signals are caught.

    Args:
        requested: Called in Trio's thread; must not raise.
    """
    is_hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    hangup = () if is_hangup_ignored else (signal.SIGHUP,)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, *hangup) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DEFERRED)
        task_status.started()
        latest_at, latest = -math.inf, 0
        async for number in signals:
            one_signal = _ONE_HANGUP if number == latest == signal.SIGHUP else _ONE_SIGNAL
            if trio.current_time() - latest_at >= one_signal:
                latest_at, latest = trio.current_time(), number
                requested(signal.Signals(number))


@dataclass(slots=True)
class Interruption:
    """Cancels a program on the first request to stop, unless the program knows a better way.

    Attributes:
        program: Cancelled when there is no better way, or when it takes too long.
        stop: Stops the program gracefully; used once. None while there is nothing to stop.
    """

    program: trio.CancelScope = field(default_factory=trio.CancelScope)
    stop: Callable[[], None] | None = None

    def request(self, _: signal.Signals) -> None:
        """Stop gracefully if possible, else cancel."""
        if self.stop is None:
            self.program.cancel()
        else:
            stop, self.stop = self.stop, None
            stop()


async def run_interruptible[T](
    program: Callable[[Interruption], Awaitable[T]], interrupted: T
) -> T:
    """Run a program that SIGINT, SIGTERM and SIGHUP cancel, and return what it returns.

    Args:
        program: Is given the means to stop in another way.
        interrupted: Returned when the program was cancelled.
    """
    interruption, result = Interruption(), interrupted
    async with trio.open_nursery() as nursery:
        await nursery.start(watch_stop_signals, interruption.request)
        with interruption.program:
            result = await program(interruption)
        nursery.cancel_scope.cancel()
    return result
