"""How a task with much to do lets others do their work."""

import trio

_PAUSE = 0.001


async def let_others_run() -> None:
    """Let other tasks run, and other threads.

    A checkpoint would do for tasks. But a thread that waits for the interpreter's lock takes a
    moment to wake up when it is let go, and Trio, with nothing to wait for, has it back by then:
    messages waited for half a second in the AMQP thread while a large status update was applied.
    """
    await trio.sleep(_PAUSE)
