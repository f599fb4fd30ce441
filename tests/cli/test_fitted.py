"""What is renewed on a terminal never outgrows it."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from broker.cli.fitted import Fitted
from broker.cli.status_view import view
from tests.status.page.statuses import WORKING

LONG = "x" * 200
END = "Press Ctrl-C to stop."


def rendered(fitted: Fitted, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as capture:
        console.print(fitted)
    return capture.get().rstrip("\n").split("\n")


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (1, END),
        (9, END),
        (10, f"1 more line in a larger terminal. {END}"),
        (90, f"81 more lines in a larger terminal. {END}"),
    ],
)
def test_what_was_cut_is_said_below(lines: int, last: str) -> None:
    content = Text("\n".join(map(str, range(lines))), end="")
    shown = rendered(Fitted(content, END), 80, 10)
    assert shown == [*map(str, range(min(lines, 9))), last][-len(shown) :]
    assert len(shown) <= 10


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (20, 5), (1, 1)])
def test_a_status_fits(width: int, height: int) -> None:
    shown = rendered(Fitted(view(WORKING), END), width, height)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert width < 80 or shown[-1].endswith(END)


def test_a_wide_line_is_folded() -> None:
    assert rendered(Fitted(Text(LONG), END), 100, 10) == [LONG[:100], LONG[:100], END]
