"""`broker dead-letters replay`."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import trio

from broker.amqp import AmqpError, Publishing, PublishingRefusedError, PublishOutcome
from broker.amqp.admin import AdminSession, Got, replayed
from broker.cli.dead_letters.letter import Letter, now
from broker.cli.dead_letters.progress import progress
from broker.cli.dead_letters.selection import Selection
from broker.cli.dead_letters.window import windows
from broker.cli.durable_queues import durable_queues
from broker.cli.in_session import EXIT_FAILED, EXIT_OK, fail, run_in_session, write
from broker.core.messages import RejectReason
from broker.settings import Settings

_PATIENCE = 30.0
"""Seconds in which RabbitMQ must confirm a window. It takes nothing during an alarm."""
_SURELY_TAKEN = 16_384
"""Bytes of a message that is within all limits that anybody sets."""
_STRANGE_QUEUE = (
    "this broker does not read their queue (BROKER_INPUT_QUEUE, BROKER_METADATA_QUEUE, "
    "BROKER_ADVERTISEMENT_QUEUE)"
)


@dataclass(slots=True)
class Tally:
    """What became of the letters.

    Attributes:
        replayed: How many were replayed, or would be.
        left: How many were left alone, by why.
        failed: How many RabbitMQ did not take, by why; they stay, too.
    """

    replayed: int = 0
    left: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


def run(
    given: Mapping[str, str],
    selection: Selection,
    format: Literal["text", "json"],  # noqa: A002 - named like the option
    *,
    dry_run: bool,
) -> int:
    """Publish letters to the queues they came from, and remove what was confirmed.

    Args:
        given: The settings that the command line gives.
        selection: Which letters.
        format: For people or for programs.
        dry_run: Only say what would be done.

    Returns:
        The exit code: 1 also when RabbitMQ did not take some of them.
    """
    command = partial(_replay, selection, format, dry_run)
    return run_in_session(given, command, name="dead-letters")


async def _replay(
    selection: Selection,
    format: str,  # noqa: A002 - named like the option
    dry_run: bool,
    settings: Settings,
    session: AdminSession,
) -> int:
    matches = selection.matching(now())
    tally = Tally()
    # A header names the queue, and anybody may have written it; so not each queue will do.
    queues = {queue.name for queue in durable_queues(settings) if queue.is_consumed}

    def is_wanted(letter: Letter) -> bool:
        if not matches(letter):
            return False
        obstacle = _obstacle(letter, queues)
        if obstacle is not None:
            tally.left[obstacle] += 1
        return obstacle is None

    try:
        with progress("Replaying") as show:
            async for window in windows(
                session,
                settings.broker_dead_letter_queue,
                is_wanted=is_wanted,
                limit=selection.limit,
            ):
                if dry_run:
                    tally.replayed += len(window.chosen)
                elif window.chosen:
                    await _replay_window(window.chosen, tally, settings, session)
                show(window)
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        _report(tally, format, dry_run=dry_run)
    for why, count in tally.failed.items():
        fail(f"{_counted(count)} left in place: {why}")
    return EXIT_FAILED if tally.failed else EXIT_OK


def _obstacle(letter: Letter, queues: Collection[str]) -> str | None:
    if letter.label is None:
        return f"not a dead letter of a broker, {letter.problem}"
    if not letter.is_complete:
        return "parts of them are missing; the broker dead-lettered the whole again"
    return None if letter.label.queue in queues else _STRANGE_QUEUE


async def _replay_window(
    letters: Sequence[Letter], tally: Tally, settings: Settings, session: AdminSession
) -> None:
    # An interruption waits for what is under way, so that nothing comes twice.
    with trio.move_on_after(_PATIENCE, shield=True) as patience:
        publishings = [_publishing(letter, settings) for letter in letters]
        outcomes = await _outcomes(letters, publishings, session)
        arrived: list[Got] = []
        for letter, publishing, outcome in zip(letters, publishings, outcomes, strict=True):
            match outcome:
                case str():
                    tally.failed[f"RabbitMQ does not accept them: {outcome}"] += 1
                case PublishOutcome.CONFIRMED:
                    arrived += letter.in_queue
                    tally.replayed += 1
                case PublishOutcome.REFUSED:
                    tally.failed[f"RabbitMQ refused them, is {publishing.queue!r} full?"] += 1
                case PublishOutcome.RETURNED:
                    tally.failed[_missing(publishing.queue)] += 1
        await session.acknowledge(settings.broker_dead_letter_queue, arrived)
    if patience.cancelled_caught:
        raise AmqpError("RabbitMQ blocks publishing, as when its memory or disk is full")


async def _outcomes(
    letters: Sequence[Letter], publishings: Sequence[Publishing], session: AdminSession
) -> Sequence[PublishOutcome | str]:
    """Publish, and return what RabbitMQ made of each, or why it closes the channel at it."""
    suspect = [_may_be_refused(letter) for letter in letters]
    trusted = await session.publish_once(
        [one for one, is_suspect in zip(publishings, suspect, strict=True) if not is_suspect]
    )
    others = iter(trusted)
    outcomes: list[PublishOutcome | str] = []
    for publishing, is_suspect in zip(publishings, suspect, strict=True):
        if not is_suspect:
            outcomes.append(next(others))
            continue
        try:
            outcomes.append(await session.publish_apart(publishing))
        except PublishingRefusedError as refusal:
            outcomes.append(str(refusal))
    return outcomes


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


def _missing(queue: str) -> str:
    return f"there is no queue {queue!r}, which a broker creates when it starts"


def _publishing(letter: Letter, settings: Settings) -> Publishing:
    assert letter.label is not None  # noqa: S101 - for the type checker: it is chosen
    return replayed(letter.message, letter.label, app_id=settings.broker_name)


def _report(tally: Tally, format: str, *, dry_run: bool) -> None:  # noqa: A002 - as above
    if format == "json":
        report = {
            "dry_run": dry_run,
            "replayed": tally.replayed,
            "left": tally.left,
            "failed": tally.failed,
        }
        write(f"{json.dumps(report, indent=2)}\n")
        return
    write(f"{'Would replay' if dry_run else 'Replayed'} {_counted(tally.replayed)}.\n")
    for why, count in tally.left.items():
        write(f"Left alone: {_counted(count)}, {why}.\n")


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"
