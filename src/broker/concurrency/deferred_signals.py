"""Defer signals while a program loads. It loads nothing itself: Trio alone takes 50 ms."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

DEFERRED = {signal.SIGTERM, signal.SIGHUP}


@contextmanager
def stop_signals_deferred() -> Iterator[None]:
    """Defer SIGTERM and SIGHUP to the end of the block, or until it lets them through.

    Until a program handles signals, one of them would end it without a graceful stop, or, in the
    first process of a container, be ignored.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEFERRED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
