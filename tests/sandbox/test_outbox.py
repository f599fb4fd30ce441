from collections.abc import Sequence
from typing import cast

import pytest
import trio
import trio.testing

from broker.amqp import AmqpError, Publishing, Session
from broker.sandbox.outbox import Outbox
from tests.lab.autojump import autojump


class FakeSession:
    """Confirms after a second, unless it is lost before."""

    def __init__(self, *, is_lost: bool = False) -> None:
        self.taken: list[str] = []
        self._is_lost = is_lost

    async def publish(self, publishings: Sequence[Publishing]) -> None:
        self.taken += [one.queue for one in publishings]
        await trio.sleep(1)
        if self._is_lost:
            raise AmqpError("lost")


def some(*queues: str) -> list[Publishing]:
    return [Publishing(queue, b"{}", "test") for queue in queues]


@autojump
async def test_what_a_lost_session_left_unconfirmed_is_published_again() -> None:
    outbox, lost, found = Outbox(), FakeSession(is_lost=True), FakeSession()
    outbox.put(some("a"))
    outbox.put([])
    outbox.put(some("b", "c"))
    with pytest.raises(AmqpError):
        await outbox.run(cast("Session", lost))
    outbox.put(some("d"))
    with trio.move_on_after(10):
        await outbox.run(cast("Session", found))
    assert lost.taken == ["a", "b", "c"]
    assert found.taken == ["a", "b", "c", "d"]


@autojump
async def test_to_publish_is_to_wait_for_the_confirm() -> None:
    outbox, session = Outbox(), FakeSession()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.run, cast("Session", session))
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await outbox.publish(some("a"))
        assert trio.current_time() - started == 1
        with trio.move_on_after(0.5):
            await outbox.publish(some("b"))
        await outbox.publish(some("c"))
        nursery.cancel_scope.cancel()
    assert session.taken == ["a", "b", "c"]
