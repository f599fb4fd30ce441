"""What is renewed on a terminal and must not be larger than it."""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text


class Fitted:
    """As much of a content as there is room for, and a last line that is always there.

    A terminal cannot take back lines that have left it at the top, so that content with more of
    them would be repeated with each renewal.
    """

    def __init__(self, content: RenderableType, last_line: str) -> None:
        self._content = content
        self._last_line = last_line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render as rich asks for it; the size is that of now."""
        room = max(0, console.size.height - 1)  # the last line takes one
        lines = console.render_lines(self._content, options.update(height=None), pad=False)
        cut = max(0, len(lines) - room)
        more = f"{cut} more line{'s' if cut > 1 else ''} in a larger terminal. " if cut else ""
        for line in lines[:room]:
            yield from line
            yield Segment.line()
        yield Text(
            f"{more}{self._last_line}", style="dim", no_wrap=True, overflow="ellipsis", end=""
        )
