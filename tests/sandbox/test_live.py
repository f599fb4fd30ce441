import io

import pytest
import trio
from rich.console import Console

from broker.sandbox import live
from broker.sandbox.accounting import Ledger
from broker.sandbox.live import can_draw, watch, watch_lines, watch_progress
from tests.lab.autojump import autojump


@autojump
async def test_the_terminal_is_restored() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    with trio.move_on_after(live.REFRESH_INTERVAL * 2.5):
        await watch(console, lambda _: "a picture", lambda _: None)
    written = screen.getvalue()
    assert written.count("a picture") == 3
    assert written.index("\x1b[?1049h") < written.index("a picture")
    assert "\x1b[?1049l" in written[-20:]


@autojump
async def test_the_terminal_is_restored_after_a_failure() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    with pytest.RaisesGroup(ZeroDivisionError):
        await watch(console, lambda _: str(1 // 0), lambda _: None)
    assert "\x1b[?1049l" in screen.getvalue()[-20:]


@pytest.mark.parametrize(
    ("terminal", "kind", "encoding", "can"),
    [
        (True, "xterm", "utf-8", True),
        (True, "dumb", "utf-8", False),
        (True, "xterm", "ascii", False),
        (False, "xterm", "utf-8", False),
    ],
)
def test_where_pictures_can_be_drawn(
    *, terminal: bool, kind: str, encoding: str, can: bool
) -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, force_terminal=terminal, _environ={"TERM": kind})
    assert can_draw(console) == can


@autojump
async def test_progress_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    ledger = Ledger()
    with trio.move_on_after(live.REFRESH_INTERVAL * 1.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_progress, console, ledger, 4)
            await trio.sleep(live.REFRESH_INTERVAL * 1.2)
            ledger.record_sent("m", "alice")
            ledger.record_failed("m")
    assert "0/4" in screen.getvalue()
    assert "1/4" in screen.getvalue()


@autojump
async def test_lines_with_sums_and_events() -> None:
    screen = io.StringIO()
    ledger = Ledger(trio.current_time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_lines, Console(file=screen, width=200), ledger)
        await trio.sleep(1)
        ledger.feed.tell("broker [killed]", is_trouble=True)
        ledger.record_sent("m", "alice")
        await trio.sleep(live.LINE_INTERVAL)
        ledger.feed.tell("broker back")
        nursery.cancel_scope.cancel()
    assert screen.getvalue().splitlines() == [
        "   1.0 s  broker [killed]",
        "   2.0 s  published 1 = delivered 0 + failed 0 + dead-lettered 0 + in flight 1",
        "   3.0 s  broker back",
    ]
