"""The start of a sandbox, part by part, for people who wait for it."""

import trio
from rich.console import Console
from rich.text import Text


class Stages:
    """Prints a line for each part that is ready, with the seconds that it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = trio.current_time()
        self._tick = "✓" if console.encoding.lower().startswith("utf") else "*"

    def done(self, part: str, detail: str = "") -> None:
        """Report that a part is ready."""
        now = trio.current_time()
        took, self._began = now - self._began, now
        line = Text.assemble((f"  {self._tick} ", "green"), f"{part:10} {took:5.1f} s  {detail}")
        self._console.print(line)
