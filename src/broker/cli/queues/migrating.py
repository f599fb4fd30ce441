"""`broker queues migrate`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import trio

from broker.amqp import AmqpError
from broker.amqp.admin import AdminSession, Queues, QueueType
from broker.cli.durable_queues import durable_queues
from broker.cli.in_session import EXIT_FAILED, EXIT_OK, fail, run_in_session, write
from broker.cli.output import json_document
from broker.cli.queues import management
from broker.cli.queues.management import ManagementError
from broker.cli.queues.migration import (
    Seen,
    Step,
    lock,
    next_step,
    obstacle,
    temporary_queue,
    way_back,
)
from broker.cli.queues.policy import DELIVERY_LIMIT, policies
from broker.cli.queues.setting_policies import apply_policies
from broker.settings import Settings
from broker.telemetry.one_line import complain, one_line

_ADVICE = (
    "RabbitMQ 4 drops a message that is returned to a quorum queue more than 20 times, unless a "
    "policy says otherwise: run 'broker queues policy', or this command with --management-url.\n"
)
_PATIENCE = 30.0
"""Seconds in which RabbitMQ must take a window. It takes nothing during an alarm."""
_DELETE_TRIES = 20
_DELETE_INTERVAL = 0.1
"""Tries to delete an empty queue, seconds between them: a consumer may be counted a bit longer."""


class _RefusedError(Exception):
    """A queue cannot be migrated further; the text says why, in a line."""


@dataclass(slots=True)
class Progress:
    """What became of a queue.

    Attributes:
        queue: Its name.
        before: The type that it had; None when it was missing.
        after: The type that it is to have.
        outcome: `kept`, `created`, `migrated`; `unfinished` until one of them is true.
        moved_out: Messages put aside by this run.
        moved_back: Messages brought back by this run.
        without_user_id: Messages that had to leave their `user_id` behind.
    """

    queue: str
    before: str | None
    after: QueueType
    outcome: str = "unfinished"
    moved_out: int = 0
    moved_back: int = 0
    without_user_id: int = 0


def run(
    given: Mapping[str, str],
    wanted: QueueType,
    format: str,  # noqa: A002 - named like the option
    *,
    dry_run: bool,
    management_url: str | None,
) -> int:
    """Give the queues a type.

    Args:
        given: The settings that the command line gives.
        wanted: The type.
        format: For people or for programs.
        dry_run: Only say what would be done.
        management_url: RabbitMQ's management API, to set policies with.

    Returns:
        The exit code.
    """
    try:
        url = management.address(management_url) if management_url is not None else None
    except ValueError as error:
        return complain(f"--management-url {error}")
    return run_in_session(given, partial(_migrate, wanted, format, dry_run, url=url), name="queues")


async def _migrate(
    wanted: QueueType,
    format: str,  # noqa: A002 - named like the option
    dry_run: bool,
    settings: Settings,
    session: AdminSession,
    *,
    url: str | None,
) -> int:
    queues = await session.queues()
    seen = {queue.name: await _see(queues, queue.name) for queue in durable_queues(settings)}
    obstacles = [
        problem
        for name, one in seen.items()
        if (problem := obstacle(name, one, wanted)) is not None
    ]
    if dry_run:
        _print_plan(seen, wanted, format)
    elif not obstacles:
        obstacles = [problem for name in seen if (problem := await _lock(queues, name)) is not None]
    for problem in obstacles:
        fail(problem)
    if obstacles:
        if not dry_run:
            fail("no queue was changed")
        return EXIT_FAILED
    if dry_run:
        return EXIT_OK
    if url is not None and wanted == "quorum":
        # Before there are quorum queues: their messages are under the policies from the start.
        try:
            login = settings.amqp_endpoints[0]
            await apply_policies(url, login, policies(settings, DELIVERY_LIMIT), [])
        except ManagementError as error:
            return fail(f"{error}; no queue was changed")
    code = await _migrate_all(queues, seen, wanted, format)
    if wanted == "quorum" and url is None and format == "text":
        write(_ADVICE)
    return code


async def _see(queues: Queues, name: str) -> Seen:
    return Seen(
        await queues.look(name),
        await queues.look(temporary_queue(name)),
        await queues.has_exchange(way_back(name)),
    )


async def _lock(queues: Queues, name: str) -> str | None:
    if await queues.lock(lock(name)):
        return None
    return (
        f"another migration of {name!r} is running, or RabbitMQ has not yet noticed that it "
        "ended: try again in half a minute"
    )


async def _migrate_all(
    queues: Queues,
    seen: Mapping[str, Seen],
    wanted: QueueType,
    format: str,  # noqa: A002 - named like the option
) -> int:
    done = [Progress(name, _type(one), wanted) for name, one in seen.items()]
    is_complete = False
    try:
        for progress in done:
            await _migrate_queue(queues, progress)
            if format == "text":
                write(f"{_sentence(progress)}\n")
        is_complete = True
    except _RefusedError as error:
        fail(str(error))
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        if format == "json":
            write(json_document({"dry_run": False, "queues": done}))
        if not is_complete:
            fail("unfinished; nothing is lost: run the same command again to continue")
    return EXIT_OK if is_complete else EXIT_FAILED


async def _migrate_queue(queues: Queues, progress: Progress) -> None:
    name, wanted = progress.queue, progress.after
    outcome = "kept"
    while True:
        seen = await _see(queues, name)
        match next_step(seen, wanted):
            case Step.NOTHING:
                progress.outcome = outcome
                return
            case Step.CREATE:
                await queues.create(name, wanted)
                progress.outcome = "created"
                return
            case Step.BEGIN:
                await queues.remove_exchange(way_back(name))
                await queues.create(temporary_queue(name), wanted)
            case Step.MOVE_OUT:
                await queues.lead_to(temporary_queue(name), temporary_queue(name))
                while count := await _move(queues, progress, name, temporary_queue(name)):
                    progress.moved_out += count
                await _delete(queues, name)
            case Step.RECREATE:
                await queues.create(name, wanted)
                await queues.lead_to(way_back(name), name)
            case Step.MOVE_BACK:
                await queues.lead_to(way_back(name), name)
                while count := await _move(queues, progress, temporary_queue(name), way_back(name)):
                    progress.moved_back += count
                await _delete(queues, temporary_queue(name))
            case Step.CLEAR:
                await queues.remove_exchange(temporary_queue(name))
                await queues.remove_exchange(way_back(name))
        outcome = "migrated"


async def _move(queues: Queues, progress: Progress, queue: str, exchange: str) -> int:
    # An interruption waits for what is under way, so that nothing comes twice.
    await trio.lowlevel.checkpoint_if_cancelled()
    with trio.move_on_after(_PATIENCE, shield=True) as patience:
        moved = await queues.move(queue, exchange)
    if patience.cancelled_caught:
        raise AmqpError("RabbitMQ blocks publishing, as when its memory or disk is full")
    progress.without_user_id += moved.without_user_id
    return moved.count


async def _delete(queues: Queues, name: str) -> None:
    """Delete a queue that was emptied, unless messages came meanwhile: those are moved first.

    Raises:
        _RefusedError: Somebody consumes it by now.
    """
    for _ in range(_DELETE_TRIES):
        state = await queues.look(name)
        if state is None or state.ready:
            return
        dropped = await queues.delete(name, state.type or "classic")
        if dropped:
            raise _RefusedError(
                f"a client published to {name!r} while it was deleted: {dropped} messages are gone"
            )
        if dropped is not None:
            return
        await trio.sleep(_DELETE_INTERVAL)
    raise _RefusedError(f"{name!r} has a new consumer: stop the brokers and the central server")


def _print_plan(seen: Mapping[str, Seen], wanted: QueueType, format: str) -> None:  # noqa: A002
    plan = [_plan(name, one, wanted) for name, one in seen.items()]
    if format == "json":
        write(json_document({"dry_run": True, "queues": plan}))
        return
    for one in plan:
        write(f"{one_line(one['queue'])}: {one['would']}\n")


def _plan(name: str, seen: Seen, wanted: QueueType) -> Mapping[str, str]:
    aside = seen.temporary.ready if seen.temporary is not None else 0
    ready = seen.queue.ready if seen.queue is not None else 0
    match next_step(seen, wanted):
        case Step.NOTHING | Step.CLEAR:
            would = f"is {wanted} already, would be left alone"
        case Step.CREATE:
            would = f"is missing, would be created as {wanted}"
        case Step.BEGIN:
            before = _type(seen) or "an unknown type"
            would = f"would change from {before} to {wanted}, with {_counted(ready)}"
        case _:
            would = (
                f"an unfinished migration would be completed, with {_counted(ready)} in the queue "
                f"and {_counted(aside)} put aside"
            )
    return {"queue": name, "would": would}


def _type(seen: Seen) -> str | None:
    return seen.queue.type if seen.queue is not None else None


def _sentence(progress: Progress) -> str:
    queue = one_line(progress.queue)
    match progress.outcome:
        case "kept":
            return f"{queue}: {progress.after} already, left alone"
        case "created":
            return f"{queue}: was missing, created as {progress.after}"
    stripped = progress.without_user_id
    return (
        f"{queue}: {progress.before or 'missing'} -> {progress.after}, "
        f"{_counted(progress.moved_out)} put aside, {_counted(progress.moved_back)} brought back"
        + (f", {stripped} of them without their user_id" if stripped else "")
    )


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"
