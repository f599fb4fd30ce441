"""Single keys from a terminal, which is left as it was found."""

import os
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

_LONGEST = 64
_ESCAPE = b"\x1b"


def keyboard() -> int | None:
    """Return the descriptor of the terminal on standard input, if this process may read it."""
    try:
        descriptor = sys.stdin.fileno()
        # Who is in the background would be stopped for touching it.
        return descriptor if os.tcgetpgrp(descriptor) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):  # closed, no terminal, or not of this session
        return None


@contextmanager
def single_keys(descriptor: int) -> Iterator[None]:
    """Let a terminal give keys at once and unseen, until the block is left in whatever way.

    Ctrl-C and Ctrl-Z keep their meanings.
    """
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


async def read_keys(descriptor: int, press: Callable[[str], None]) -> None:
    """Pass on keys as they are pressed, letters in lower case, until the terminal is gone."""
    while True:
        await trio.lowlevel.wait_readable(descriptor)
        try:
            pressed = os.read(descriptor, _LONGEST)
        except OSError:
            return
        if not pressed:
            return
        if not pressed.startswith(_ESCAPE):  # no arrows, whose letters are not meant
            for key in pressed.decode("ascii", "ignore").lower():
                press(key)


async def watch_suspensions(
    suspend: Callable[[], None],
    resume: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """At each SIGTSTP (Ctrl-Z), suspend, stop this process, and resume when it is continued."""
    with trio.open_signal_receiver(signal.SIGTSTP) as signals:
        task_status.started()
        async for _ in signals:
            suspend()
            os.kill(os.getpid(), signal.SIGSTOP)
            resume()
