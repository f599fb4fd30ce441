import signal

import pytest
import trio

from broker.sandbox.interrupts import Interrupts


async def test_the_first_stops_and_the_second_leaves() -> None:
    interrupts = Interrupts()
    stopped = trio.Event()
    interrupts.stop = stopped.set
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(interrupts.watch)
            with interrupts.everything:
                signal.raise_signal(signal.SIGINT)
                await stopped.wait()
                assert not interrupts.everything.cancel_called
                signal.raise_signal(signal.SIGTERM)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("hangups_arrive")
async def test_while_there_is_nothing_to_stop_the_first_leaves() -> None:
    interrupts = Interrupts()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(interrupts.watch)
            with interrupts.everything:
                signal.raise_signal(signal.SIGHUP)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
