"""Show a running sandbox: as a picture with keys, as a progress bar, or in lines."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import trio
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from broker.sandbox.accounting import Ledger
from broker.sandbox.keys import keyboard, read_keys, single_keys, watch_suspensions
from broker.sandbox.summary import balance

REFRESH_INTERVAL = 0.1
"""Seconds between two pictures."""
LINE_INTERVAL = 2.0
"""Seconds between two lines where no picture can be drawn."""


def can_draw(console: Console) -> bool:
    """Return whether pictures can be drawn: on a terminal that moves its cursor and has Unicode."""
    is_unicode = console.encoding.lower().startswith("utf")
    return console.is_terminal and not console.is_dumb_terminal and is_unicode


async def watch(
    console: Console,
    picture: Callable[[bool], RenderableType],
    press: Callable[[str], None],
) -> None:
    """Show pictures on the whole terminal until cancelled, and restore the terminal.

    Args:
        picture: Draws one; is told whether there are keys.
        press: Is called with each key. Must not raise.
    """
    descriptor = keyboard()
    with _Screen(console, descriptor) as screen:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch_suspensions, screen.close, screen.open)
            if descriptor is not None:
                nursery.start_soon(read_keys, descriptor, press)
            while True:
                screen.show(picture(descriptor is not None))
                await trio.sleep(REFRESH_INTERVAL)


async def watch_progress(console: Console, ledger: Ledger, messages: int) -> None:
    """Show a progress bar until cancelled."""
    columns = (TextColumn("accounted for"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bar = progress.add_task("", total=messages)
        try:
            while True:
                progress.update(bar, completed=ledger.accounted_for, refresh=True)
                await trio.sleep(REFRESH_INTERVAL)
        finally:
            progress.update(bar, completed=ledger.accounted_for, refresh=True)


async def watch_lines(console: Console, ledger: Ledger) -> None:
    """Print a line with the sum every few seconds, and one per event, until cancelled."""
    events = 0
    try:
        while True:
            await trio.sleep(LINE_INTERVAL)
            events = _print_events(console, ledger, events)
            console.print(f"{ledger.feed.now():6.1f} s  {balance(ledger)}")
    finally:
        _print_events(console, ledger, events)


def _print_events(console: Console, ledger: Ledger, printed: int) -> int:
    for event in ledger.feed.events_since(printed):
        console.print(f"{event.at:6.1f} s  {event.text}", markup=False)
    return ledger.feed.event_count


class _Screen:
    """The whole terminal, taken from who had it before and given back."""

    def __init__(self, console: Console, keyboard: int | None) -> None:
        self._console = console
        self._keyboard = keyboard
        self._taken = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take it."""
        with ExitStack() as taking:
            if self._keyboard is not None:
                taking.enter_context(single_keys(self._keyboard))
            self._live = Live(console=self._console, screen=True, auto_refresh=False)
            taking.enter_context(self._live)
            self._taken = taking.pop_all()

    def close(self) -> None:
        """Give it back."""
        self._taken.close()

    def show(self, picture: RenderableType) -> None:
        """Show a picture in place of the last one."""
        if self._live is not None:
            self._live.update(picture, refresh=True)
