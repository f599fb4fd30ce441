"""A bar on the terminal for what takes a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.cli.dead_letters.window import SIZE, Window


@contextmanager
def progress(action: str) -> Iterator[Callable[[Window], None]]:
    """Show how far a walk through the queue is, on standard error when it is a terminal.

    Yields what is to be called after each window. A queue of one window shows nothing.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn(action), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False
    ) as bar:
        task = bar.add_task(action, visible=False)

        def show(window: Window) -> None:
            is_long = window.total > SIZE
            bar.update(
                task, completed=window.seen, total=window.total, visible=is_long, refresh=True
            )

        yield show
