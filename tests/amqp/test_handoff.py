"""Handing over items: nothing lost, nothing out of order, one wake-up at a time."""

from collections.abc import Callable, Sequence

import trio
from anyio.from_thread import BlockingPortal
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp.handoff import Handoff

PATIENCE = 30.0


@given(st.lists(st.booleans()))
def test_nothing_is_lost_and_one_wake_up_is_under_way(steps: list[bool]) -> None:
    wake_ups: list[Callable[[], None]] = []
    batches: list[list[int]] = []
    handoff = Handoff[int](wake_ups.append, lambda items: batches.append(list(items)))

    for number, is_put in enumerate(steps):
        if is_put:
            handoff.put([number])
        elif wake_ups:
            wake_ups.pop()()
        assert len(wake_ups) <= 1
    for wake_up in wake_ups:
        wake_up()

    assert [item for batch in batches for item in batch] == [
        number for number, is_put in enumerate(steps) if is_put
    ]
    assert all(batches)


def test_what_is_put_while_a_batch_is_taken_is_handed_over() -> None:
    wake_ups: list[Callable[[], None]] = []
    received: list[int] = []

    def deliver(items: Sequence[int]) -> None:
        received.extend(items)
        if received == [1]:
            handoff.put([2])

    handoff = Handoff[int](wake_ups.append, deliver)
    handoff.put([1])
    wake_ups.pop()()
    wake_ups.pop()()

    assert received == [1, 2]
    assert wake_ups == []


def test_a_late_wake_up_with_nothing_to_hand_over_delivers_nothing() -> None:
    wake_ups: list[Callable[[], None]] = []
    batches: list[Sequence[int]] = []
    Handoff[int](wake_ups.append, batches.append).put([1])
    wake_ups[0]()
    wake_ups[0]()
    assert batches == [[1]]


async def test_from_one_thread_to_another(portal: BlockingPortal) -> None:
    token = trio.lowlevel.current_trio_token()
    received: list[int] = []
    complete = trio.Event()
    count = 50_000

    def deliver(items: Sequence[int]) -> None:
        received.extend(items)
        if len(received) >= count:
            complete.set()

    handoff = Handoff[int](token.run_sync_soon, deliver)

    def put_all() -> None:
        for number in range(count):
            handoff.put([number])

    with trio.fail_after(PATIENCE):
        await portal.call_async(put_all)
        await complete.wait()

    assert received == list(range(count))
