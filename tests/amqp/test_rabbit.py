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
    hanging = threading.Event()
    given_up = threading.Timer(PATIENCE, hanging.set)
    given_up.start()

    def hang() -> None:
        hanging.wait()

    async def hang_opening(_: Lifetime) -> None:
        hang()

    async def main() -> None:
        async with open_rabbit() as rabbit:
            await rabbit.answers()
            with trio.move_on_after(1) as scope:
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
        assert not hanging.is_set()
        assert [event["event"] for event in logged] == ["amqp_thread_hangs"]
    finally:
        given_up.cancel()
        hanging.set()
