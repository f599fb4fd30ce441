"""`broker dead-letters list` and `show`."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

from broker.amqp.admin import AdminSession
from broker.cli.dead_letters import document, text
from broker.cli.dead_letters.letter import Letter, now
from broker.cli.dead_letters.selection import Selection
from broker.cli.dead_letters.window import windows
from broker.cli.in_session import EXIT_OK, run_in_session, write
from broker.settings import Settings


class Style(NamedTuple):
    """How letters are printed one after the other, however many there are.

    Attributes:
        letter: Writes one.
        head: Goes before the first.
        between: Goes between two.
        tail: Goes behind the last.
        nothing: Is printed when there is none.
    """

    letter: Callable[[Letter, datetime], str]
    head: str
    between: str
    tail: str
    nothing: str


_NOTHING = "There is no such message in the dead-letter queue.\n"
LIST = {
    "text": Style(text.row, text.HEADING, "", "", _NOTHING),
    "json": Style(document.summary, "[\n", ",\n", "\n]\n", "[]\n"),
}
SHOW = {
    "text": Style(text.page, "", "", "", _NOTHING),
    "json": Style(document.content, "[\n", ",\n", "\n]\n", "[]\n"),
}


def run(given: Mapping[str, str], selection: Selection, style: Style) -> int:
    """Print letters, and leave all in their places.

    Args:
        given: The settings that the command line gives.
        selection: Which letters.
        style: How to print them.

    Returns:
        The exit code.
    """
    return run_in_session(given, partial(_look, selection, style), name="dead-letters")


async def _look(
    selection: Selection, style: Style, settings: Settings, session: AdminSession
) -> int:
    began = now()
    printed = 0
    async for window in windows(
        session,
        settings.broker_dead_letter_queue,
        is_wanted=selection.matching(began),
        limit=selection.limit,
    ):
        if window.chosen:
            letters = style.between.join(style.letter(letter, began) for letter in window.chosen)
            if not write((style.between if printed else style.head) + letters):
                return EXIT_OK
            printed += len(window.chosen)
    write(style.tail if printed else style.nothing)
    return EXIT_OK
