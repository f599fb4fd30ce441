"""`broker dead-letters purge`."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from broker.amqp.admin import AdminSession
from broker.cli.dead_letters.progress import progress
from broker.cli.dead_letters.selection import EVERYTHING, Selected, Selection
from broker.cli.in_session import EXIT_OK, run_in_session, uninterrupted, write
from broker.cli.option_types import Format, Switch
from broker.cli.output import counted
from broker.cli.taking_settings import taking_settings
from broker.settings import Settings
from broker.telemetry.one_line import complain


@taking_settings
def purge_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = EVERYTHING,
    all: Switch = False,  # noqa: A002 - named like the option
    dry_run: Switch = False,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Delete dead letters permanently.

    Args:
        all: Remove whatever is in the queue; needed when nothing else says what to remove.
        dry_run: Only say what would be done.
    """
    if selection == EVERYTHING and not all:
        return complain(
            "purge needs a selection: --id, --number, --reason, --queue, --older-than, "
            "--newer-than, --oldest or --newest, or --all"
        )
    if selection != EVERYTHING and all:
        return complain("--all must not be combined with a selection")
    command = partial(_purge, selection, dry_run, format == "json")
    return run_in_session(given, command, name="dead-letters")


async def _purge(
    selection: Selection, dry_run: bool, as_json: bool, settings: Settings, session: AdminSession
) -> int:
    queue, is_wanted = settings.broker_dead_letter_queue, selection.matching(datetime.now(UTC))
    removed = 0
    try:
        with progress("Removing") as show:
            async for window in selection.windows(session, queue, is_wanted):
                if not dry_run:
                    # So that the count is right.
                    with uninterrupted("RabbitMQ does not answer"):
                        messages = [one for letter in window.chosen for one in letter.in_queue]
                        await session.acknowledge(queue, messages)
                removed += len(window.chosen)
                show(window)
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        if as_json:
            write(f"{json.dumps({'dry_run': dry_run, 'removed': removed}, indent=2)}\n")
        else:
            write(f"{'Would remove' if dry_run else 'Removed'} {counted(removed)}.\n")
    return EXIT_OK
