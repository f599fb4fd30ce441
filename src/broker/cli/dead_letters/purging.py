"""`broker dead-letters purge`."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Literal

import trio

from broker.amqp import AmqpError
from broker.amqp.admin import AdminSession
from broker.cli.dead_letters.letter import now
from broker.cli.dead_letters.progress import progress
from broker.cli.dead_letters.selection import Selection
from broker.cli.dead_letters.window import windows
from broker.cli.in_session import EXIT_OK, run_in_session, write
from broker.settings import Settings
from broker.telemetry.one_line import complain

_PATIENCE = 30.0
"""Seconds in which RabbitMQ must have removed a window."""


def run(
    given: Mapping[str, str],
    selection: Selection,
    format: Literal["text", "json"],  # noqa: A002 - named like the option
    *,
    all: bool,  # noqa: A002 - likewise
    dry_run: bool,
) -> int:
    """Remove letters for good.

    Args:
        given: The settings that the command line gives.
        selection: Which letters.
        format: For people or for programs.
        all: Whether it is meant that nothing narrows the selection.
        dry_run: Only say what would be done.

    Returns:
        The exit code.
    """
    if selection.takes_everything and not all:
        return complain(
            "purge needs a selection: --reason, --queue, --older-than or --newer-than, or --all"
        )
    if all and not selection.takes_everything:
        return complain("--all must not be combined with a selection")
    command = partial(_purge, selection, format, dry_run)
    return run_in_session(given, command, name="dead-letters")


async def _purge(
    selection: Selection,
    format: str,  # noqa: A002 - named like the option
    dry_run: bool,
    settings: Settings,
    session: AdminSession,
) -> int:
    queue = settings.broker_dead_letter_queue
    removed = 0
    try:
        with progress("Removing") as show:
            async for window in windows(
                session,
                queue,
                is_wanted=selection.matching(now()),
                limit=selection.limit,
            ):
                if not dry_run:
                    # An interruption waits for what is under way, so that the count is right.
                    with trio.move_on_after(_PATIENCE, shield=True) as patience:
                        messages = [one for letter in window.chosen for one in letter.in_queue]
                        await session.acknowledge(queue, messages)
                    if patience.cancelled_caught:
                        raise AmqpError("RabbitMQ does not answer")
                removed += len(window.chosen)
                show(window)
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        _report(removed, format, dry_run=dry_run)
    return EXIT_OK


def _report(removed: int, format: str, *, dry_run: bool) -> None:  # noqa: A002 - as above
    if format == "json":
        write(f"{json.dumps({'dry_run': dry_run, 'removed': removed}, indent=2)}\n")
        return
    what = "1 message" if removed == 1 else f"{removed} messages"
    write(f"{'Would remove' if dry_run else 'Removed'} {what}.\n")
