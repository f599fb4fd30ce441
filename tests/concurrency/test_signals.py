import signal
from collections.abc import Sequence

import pytest
import trio

from broker.concurrency.deferred_signals import stop_signals_deferred
from broker.concurrency.signals import Interruption, run_interruptible, watch_stop_signals
from tests.lab.autojump import autojump

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@autojump
@pytest.mark.usefixtures("hangups_arrive")
@pytest.mark.parametrize(
    ("sent", "requested"),
    [
        ([(0, INT)], [INT]),
        ([(0, TERM)], [TERM]),
        ([(0, HUP)], [HUP]),
        ([(0, INT), (0, TERM)], [INT]),
        ([(0, INT), (0.199, TERM)], [INT]),
        ([(0, INT), (0.2, TERM)], [INT, TERM]),
        ([(0, INT), (5, INT)], [INT, INT]),
        # The shell of a terminal that closes passes the SIGHUP on, and the kernel sends another.
        ([(0, HUP), (2, HUP)], [HUP]),
        ([(0, HUP), (2, TERM)], [HUP, TERM]),
        ([(0, HUP), (6, HUP)], [HUP, HUP]),
    ],
)
async def test_signals_that_come_together_are_one_request(
    sent: Sequence[tuple[float, signal.Signals]],
    requested: Sequence[signal.Signals],
    nursery: trio.Nursery,
) -> None:
    heard: list[signal.Signals] = []
    await nursery.start(watch_stop_signals, heard.append)
    for pause, number in sent:
        await trio.sleep(pause)
        signal.raise_signal(number)
    await trio.sleep(0.001)
    assert heard == requested


@autojump
@pytest.mark.usefixtures("hangups_arrive")
async def test_a_hangup_that_is_ignored_stays_ignored(nursery: trio.Nursery) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heard: list[signal.Signals] = []
    await nursery.start(watch_stop_signals, heard.append)
    signal.raise_signal(signal.SIGHUP)
    await trio.sleep(0.001)
    assert heard == []


@autojump
@pytest.mark.usefixtures("hangups_arrive")
@pytest.mark.parametrize("number", [TERM, HUP])
async def test_deferred_signals_arrive_when_they_are_watched(
    number: signal.Signals, nursery: trio.Nursery
) -> None:
    heard: list[signal.Signals] = []
    with stop_signals_deferred():
        signal.raise_signal(number)
        await nursery.start(watch_stop_signals, heard.append)
        await trio.sleep(0.001)
    assert heard == [number]
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@autojump
async def test_a_program_is_cancelled() -> None:
    async def program(_: Interruption) -> str:
        signal.raise_signal(TERM)
        await trio.sleep(60)
        return "done"

    assert await run_interruptible(program, "interrupted") == "interrupted"


@autojump
async def test_a_program_that_can_be_stopped_is_cancelled_on_the_second_request() -> None:
    stopped = trio.Event()

    async def program(interruption: Interruption) -> str:
        interruption.stop = stopped.set
        signal.raise_signal(INT)
        await trio.sleep(1)
        assert stopped.is_set()
        signal.raise_signal(TERM)
        await trio.sleep(60)
        return "done"

    assert await run_interruptible(program, "interrupted") == "interrupted"


async def test_a_program_that_ends_by_itself() -> None:
    async def program(_: Interruption) -> str:
        await trio.lowlevel.checkpoint()
        return "done"

    assert await run_interruptible(program, "interrupted") == "done"
