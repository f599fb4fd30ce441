"""What blocks holds up nobody."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from broker.amqp import daemon_thread
from broker.amqp.daemon_thread import in_daemon_thread


def fail() -> None:
    raise OSError("broken")


def test_returns_and_raises_what_the_function_does() -> None:
    assert asyncio.run(in_daemon_thread(lambda: 7)) == 7
    with pytest.raises(OSError, match="broken"):
        asyncio.run(in_daemon_thread(fail))


def test_one_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_thread, "_free", threading.BoundedSemaphore(1))
    answers = threading.Event()
    threads: list[threading.Thread] = []

    def hang() -> None:
        threads.append(threading.current_thread())
        answers.wait()

    async def wait_for(function: Callable[[], None]) -> None:
        async with asyncio.timeout(0.05):
            await in_daemon_thread(function)

    # The loop ends although the call has not.
    with pytest.raises(TimeoutError):
        asyncio.run(wait_for(hang))
    [thread] = threads
    assert thread.is_alive()
    assert thread.daemon
    # No others are started as long as too many hang.
    with pytest.raises(TimeoutError):
        asyncio.run(in_daemon_thread(lambda: None))
    answers.set()
    thread.join()
    asyncio.run(in_daemon_thread(lambda: None))
