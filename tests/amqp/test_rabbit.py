"""The AMQP thread, started and ended by a Trio task."""

import threading

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from broker.amqp import open_rabbit
from broker.amqp.lifetime import Lifetime

PATIENCE = 30.0


async def nothing(_: Lifetime) -> None:
    """Open a session without any connection."""


@pytest.mark.parametrize("is_open", [False, True])
def test_an_event_loop_that_hangs_holds_nothing_up(*, is_open: bool) -> None:
    hangs = threading.Event()
    let_go = threading.Event()

    def hang() -> None:
        hangs.set()
        let_go.wait(PATIENCE)

    async def hang_opening(_: Lifetime) -> None:
        hang()

    async def cancel_once_it_hangs(scope: trio.CancelScope) -> None:
        await trio.to_thread.run_sync(hangs.wait, PATIENCE)
        scope.cancel()

    async def main() -> None:
        async with open_rabbit() as rabbit:
            await rabbit.answers()
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(cancel_once_it_hangs, scope)
                    async with rabbit.hosted(nothing if is_open else hang_opening) as border:
                        border.post(hang)
                        await trio.sleep_forever()
            assert scope.cancelled_caught
            with trio.move_on_after(1) as scope:
                await rabbit.answers()
            assert scope.cancelled_caught

    try:
        with capture_logs() as logged:
            # A fast clock: the bounds are seconds, and the thread never answers.
            trio.run(main, clock=MockClock(rate=100))
        assert hangs.is_set()
        assert [event["event"] for event in logged] == ["amqp_thread_hangs"]
    finally:
        let_go.set()
