"""`broker dead-letters list` and `show`."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from broker.amqp.admin import AdminSession
from broker.cli.dead_letters import document, text
from broker.cli.dead_letters.letter import Letter
from broker.cli.dead_letters.selection import EVERYTHING, Selected, Selection
from broker.cli.in_session import EXIT_OK, run_in_session, write
from broker.cli.option_types import Format
from broker.cli.taking_settings import taking_settings
from broker.settings import Settings


class _Style(NamedTuple):
    """How letters are printed one after the other, however many there are."""

    letter: Callable[[Letter, datetime], str]
    head: str
    between: str
    tail: str
    nothing: str


_NOTHING = "There is no such message in the dead-letter queue.\n"
_LIST = {
    "text": _Style(text.row, text.HEADING, "", "", _NOTHING),
    "json": _Style(document.summary, "[\n", ",\n", "\n]\n", "[]\n"),
}
_SHOW = {
    "text": _Style(text.page, "", "", "", _NOTHING),
    "json": _Style(document.content, "[\n", ",\n", "\n]\n", "[]\n"),
}


@taking_settings
def list_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = EVERYTHING,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """List what is in the dead-letter queue, oldest first. Changes nothing."""
    return run_in_session(given, partial(_look, selection, _LIST[format]), name="dead-letters")


@taking_settings
def show_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = EVERYTHING,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Show dead letters with their headers and bodies, oldest first. Changes nothing."""
    return run_in_session(given, partial(_look, selection, _SHOW[format]), name="dead-letters")


async def _look(
    selection: Selection, style: _Style, settings: Settings, session: AdminSession
) -> int:
    queue, began = settings.broker_dead_letter_queue, datetime.now(UTC)
    is_wanted = selection.matching(began)
    printed = 0
    async for window in selection.windows(session, queue, is_wanted):
        if window.chosen:
            letters = style.between.join(style.letter(letter, began) for letter in window.chosen)
            if not write((style.between if printed else style.head) + letters):
                return EXIT_OK
            printed += len(window.chosen)
    write(style.tail if printed else style.nothing)
    return EXIT_OK
