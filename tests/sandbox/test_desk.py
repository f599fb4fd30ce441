from functools import partial

import trio

from broker.sandbox.desk import Desk
from tests.lab.autojump import autojump


@autojump
async def test_work_is_done_one_piece_after_the_other() -> None:
    desk = Desk(lambda: 2.0)
    done: list[tuple[str, float]] = []

    def finish(name: str) -> None:
        done.append((name, trio.current_time() - started))

    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.testing.wait_all_tasks_blocked()
        for name in ("a", "b"):
            desk.put(partial(finish, name))
        await trio.sleep(10)
        desk.put(partial(finish, "c"))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert done == [("a", 2.0), ("b", 4.0), ("c", 12.0)]


@autojump
async def test_each_piece_takes_as_long_as_is_said_then() -> None:
    seconds = 2.0
    desk = Desk(lambda: seconds)
    done: list[float] = []
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            desk.put(lambda: done.append(trio.current_time() - started))
        await trio.sleep(1)
        seconds = 0.0
        await trio.sleep(9)
        nursery.cancel_scope.cancel()
    assert done == [2.0, 2.0, 2.0]


@autojump
async def test_nothing_is_left_when_nobody_works_there() -> None:
    desk = Desk(lambda: 2.0)
    done: list[str] = []
    desk.put(lambda: done.append("before"))
    assert done == ["before"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.run)
        await trio.testing.wait_all_tasks_blocked()
        for name in ("a", "b"):
            desk.put(partial(done.append, name))
        assert done == ["before"]
        nursery.cancel_scope.cancel()
    desk.put(lambda: done.append("after"))
    assert done == ["before", "a", "b", "after"]
