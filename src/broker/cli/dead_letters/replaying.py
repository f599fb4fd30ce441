"""`broker dead-letters replay`."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import partial
from itertools import compress

from broker.amqp import Publishing, PublishingRefusedError, PublishOutcome
from broker.amqp.admin import AdminSession, Got, replayed
from broker.cli.dead_letters.letter import Letter
from broker.cli.dead_letters.progress import progress
from broker.cli.dead_letters.selection import EVERYTHING, Selected, Selection
from broker.cli.durable_queues import durable_queues
from broker.cli.in_session import (
    EXIT_FAILED,
    EXIT_OK,
    fail,
    run_in_session,
    uninterrupted,
    write,
)
from broker.cli.option_types import Format, Switch
from broker.cli.output import counted
from broker.cli.taking_settings import taking_settings
from broker.core.messages import RejectReason
from broker.settings import Settings

_SURELY_TAKEN = 16_384
"""Bytes of a message that is within all limits that anybody sets."""
_STRANGE_QUEUE = (
    "this broker does not read their queue (BROKER_INPUT_QUEUE, BROKER_METADATA_QUEUE, "
    "BROKER_ADVERTISEMENT_QUEUE)"
)


@dataclass(slots=True)
class _Tally:
    """Letters replayed (or that would be), left alone, and refused by RabbitMQ, by why."""

    replayed: int = 0
    left: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


@taking_settings
def replay_letters(
    given: Mapping[str, str],
    *,
    selection: Selected = EVERYTHING,
    dry_run: Switch = False,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Send dead letters back to their original queues.

    Each leaves the dead-letter queue only when its queue has it. What is no dead letter of a
    broker, or did not come from a queue that this broker reads, stays where it is.

    Args:
        dry_run: Only say what would be done.
    """
    command = partial(_replay, selection, dry_run, format == "json")
    return run_in_session(given, command, name="dead-letters")


async def _replay(
    selection: Selection, dry_run: bool, as_json: bool, settings: Settings, session: AdminSession
) -> int:
    queue, matches = settings.broker_dead_letter_queue, selection.matching(datetime.now(UTC))
    tally = _Tally()
    # A header names the queue, and anybody may have written it; so not each queue will do.
    queues = {queue.name for queue in durable_queues(settings) if queue.is_consumed}

    def may_go(letter: Letter) -> bool:
        obstacle = _obstacle(letter, queues)
        if obstacle is not None:
            tally.left[obstacle] += 1
        return obstacle is None

    try:
        with progress("Replaying") as show:
            async for window in selection.windows(session, queue, matches, may_go):
                if dry_run:
                    tally.replayed += len(window.chosen)
                elif window.chosen:
                    # So that nothing comes twice.
                    with uninterrupted():
                        await _replay_window(window.chosen, tally, settings, session)
                show(window)
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        _report(tally, as_json=as_json, dry_run=dry_run)
    for why, count in tally.failed.items():
        fail(f"{counted(count)} left in place: {why}")
    return EXIT_FAILED if tally.failed else EXIT_OK


def _obstacle(letter: Letter, queues: Collection[str]) -> str | None:
    if letter.label is None:
        return f"not a dead letter of a broker, {letter.problem}"
    if not letter.is_complete:
        return "parts of them are missing; the broker dead-lettered the whole again"
    return None if letter.label.queue in queues else _STRANGE_QUEUE


async def _replay_window(
    letters: Sequence[Letter], tally: _Tally, settings: Settings, session: AdminSession
) -> None:
    publishings = [_publishing(letter, settings) for letter in letters]
    outcomes = await _outcomes(letters, publishings, session)
    arrived: list[Got] = []
    for letter, publishing, outcome in zip(letters, publishings, outcomes, strict=True):
        queue = publishing.queue
        match outcome:
            case str():
                tally.failed[f"RabbitMQ does not accept them: {outcome}"] += 1
            case PublishOutcome.CONFIRMED:
                arrived += letter.in_queue
                tally.replayed += 1
            case PublishOutcome.REFUSED:
                tally.failed[f"RabbitMQ refused them, is {queue!r} full?"] += 1
            case PublishOutcome.RETURNED:
                why = f"there is no queue {queue!r}, which a broker creates when it starts"
                tally.failed[why] += 1
    await session.acknowledge(settings.broker_dead_letter_queue, arrived)


async def _outcomes(
    letters: Sequence[Letter], publishings: Sequence[Publishing], session: AdminSession
) -> Sequence[PublishOutcome | str]:
    """Publish, and return what RabbitMQ made of each, or why it closes the channel at it."""
    is_trusted = [not _may_be_refused(letter) for letter in letters]
    trusted = iter(await session.publish_once(list(compress(publishings, is_trusted))))
    return [
        next(trusted) if is_one else await _publish_apart(publishing, session)
        for publishing, is_one in zip(publishings, is_trusted, strict=True)
    ]


async def _publish_apart(publishing: Publishing, session: AdminSession) -> PublishOutcome | str:
    try:
        return await session.publish_apart(publishing)
    except PublishingRefusedError as refusal:
        return str(refusal)


def _may_be_refused(letter: Letter) -> bool:
    """Return whether RabbitMQ may close the channel because of it, and take its neighbours along.

    It did so before, or the letter is so large that it may be above a limit, which may have been
    another when the letter was taken.
    """
    size = len(letter.message.body) + len(letter.message.raw_properties)
    was_refused = letter.label is not None and (
        letter.label.reason == RejectReason.INTERNAL_ERROR.value
    )
    return was_refused or bool(letter.messages) or size > _SURELY_TAKEN


def _publishing(letter: Letter, settings: Settings) -> Publishing:
    assert letter.label is not None  # noqa: S101 - for the type checker: it is chosen
    return replayed(letter.message, letter.label, app_id=settings.broker_name)


def _report(tally: _Tally, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        report = {"dry_run": dry_run} | {
            one.name: getattr(tally, one.name) for one in fields(tally)
        }
        write(f"{json.dumps(report, indent=2)}\n")
        return
    write(f"{'Would replay' if dry_run else 'Replayed'} {counted(tally.replayed)}.\n")
    for why, count in tally.left.items():
        write(f"Left alone: {counted(count)}, {why}.\n")
