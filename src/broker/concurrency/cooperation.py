"""Yield to other tasks and threads during long work."""

import trio

_PAUSE = 0.001


async def let_others_run() -> None:
    """Let other tasks and other threads run.

    A checkpoint would be enough for tasks. But a thread that waits for the interpreter's lock takes
    a moment to wake up when the lock is released, and Trio, with nothing to wait for, has taken it
    again by then: messages waited half a second in the AMQP thread during a large status update.
    """
    await trio.sleep(_PAUSE)
