import trio
from trio.testing import wait_all_tasks_blocked

from broker.concurrency.wakeup import Gate, Wakeup
from tests.lab.autojump import autojump


async def wakes(wakeup: Wakeup) -> bool:
    """Tell whether a task that waits now is woken."""
    with trio.move_on_after(1):
        await wakeup.wait()
        return True
    return False


@autojump
async def test_wakes_the_task_that_waits(nursery: trio.Nursery) -> None:
    wakeup = Wakeup()
    woken = trio.Event()

    async def wait() -> None:
        await wakeup.wait()
        woken.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    assert not woken.is_set()
    wakeup.set()
    await wait_all_tasks_blocked()
    assert woken.is_set()


@autojump
async def test_a_task_that_waits_while_it_is_cleared_is_woken_all_the_same(
    nursery: trio.Nursery,
) -> None:
    wakeup = Wakeup()
    nursery.start_soon(wakeup.wait)
    await wait_all_tasks_blocked()
    wakeup.clear()
    wakeup.set()
    with trio.fail_after(1):
        while nursery.child_tasks:
            await trio.sleep(0.1)


@autojump
async def test_it_wakes_the_next_task_that_waits_and_two_sets_count_once() -> None:
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.set()
        wakeup.set()
        assert await wakes(wakeup)
        assert not await wakes(wakeup)


@autojump
async def test_cleared_it_does_not_wake() -> None:
    wakeup = Wakeup()
    wakeup.set()
    wakeup.clear()
    assert not await wakes(wakeup)


@autojump
async def test_a_cancelled_wait_takes_nothing() -> None:
    wakeup = Wakeup()
    wakeup.set()
    with trio.CancelScope() as scope:
        scope.cancel()
        await wakeup.wait()
    assert scope.cancelled_caught
    assert await wakes(wakeup)


async def passes(gate: Gate, side: str) -> bool:
    """Tell whether a task that waits now for one side of the gate gets past."""
    with trio.move_on_after(1):
        await getattr(gate, side)()
        return True
    return False


@autojump
async def test_a_gate_is_closed_at_first_and_opened_and_closed_any_number_of_times() -> None:
    gate = Gate()
    for change, is_open in (
        (None, False),
        (gate.open, True),
        (gate.open, True),
        (gate.close, False),
        (gate.close, False),
        (gate.open, True),
    ):
        if change is not None:
            change()
        assert gate.is_open is is_open
        assert await passes(gate, "opened") is is_open
        assert await passes(gate, "closed") is not is_open


@autojump
async def test_who_waits_gets_past_a_gate_that_turned_back(nursery: trio.Nursery) -> None:
    gate = Gate()
    past: list[str] = []

    async def wait(side: str) -> None:
        await getattr(gate, side)()
        past.append(side)

    nursery.start_soon(wait, "opened")
    await wait_all_tasks_blocked()
    gate.open()
    nursery.start_soon(wait, "closed")
    gate.close()
    await wait_all_tasks_blocked()
    assert sorted(past) == ["closed", "opened"]
    nursery.start_soon(wait, "opened")
    await wait_all_tasks_blocked()
    assert len(past) == 2, "a task that comes later waits for the next opening"
    gate.open()
