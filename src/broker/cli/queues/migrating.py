"""`broker queues migrate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import trio

from broker.amqp.admin import AdminSession, Queues, QueueType
from broker.cli.durable_queues import durable_queues
from broker.cli.in_session import (
    EXIT_FAILED,
    EXIT_OK,
    fail,
    run_in_session,
    uninterrupted,
    write,
)
from broker.cli.option_types import Format, ManagementUrl, Switch
from broker.cli.output import counted, json_document
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
from broker.cli.taking_settings import taking_settings
from broker.settings import Settings
from broker.telemetry.one_line import one_line

_ADVICE = (
    "RabbitMQ 4 drops a message that is returned to a quorum queue more than 20 times, unless a "
    "policy says otherwise: run 'broker queues policy', or this command with --management-url.\n"
)
_DELETE_TRIES = 20
_DELETE_INTERVAL = 0.1
"""Tries to delete an empty queue, seconds between them: a consumer may be counted a bit longer."""


class _RefusedError(Exception):
    """A queue cannot be migrated further; the text says why, in a line."""


@dataclass(slots=True)
class Progress:
    """What became of a queue, which may have been missing before.

    Attributes:
        outcome: `kept`, `created`, `migrated`; `unfinished` until one of them is true.
        without_user_id: Messages that had to leave their `user_id` behind.
    """

    queue: str
    before: str | None
    after: QueueType
    outcome: str = "unfinished"
    moved_out: int = 0
    moved_back: int = 0
    without_user_id: int = 0


@taking_settings
def migrate_queues(
    given: Mapping[str, str],
    *,
    type: Literal["quorum", "classic"],  # noqa: A002 - named like the option
    dry_run: Switch = False,
    management_url: ManagementUrl = None,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """Give the broker's durable queues another type, and keep their messages.

    Args:
        type: What the queues are to be. A queue that is missing is created.
        dry_run: Only say what would be done.
        management_url: RabbitMQ's management API, such as http://localhost:15672, to apply the
            policies of 'broker queues policy' first, so that quorum queues drop nothing.
    """
    if dry_run:
        command = partial(_show_plan, type, format == "json")
    else:
        command = partial(_migrate, type, format == "json", management_url)
    return run_in_session(given, command, name="queues")


async def _show_plan(
    wanted: QueueType, as_json: bool, settings: Settings, session: AdminSession
) -> int:
    queues = await session.queues()
    seen = await _see_all(queues, settings)
    plan = [_plan(name, one, wanted) for name, one in seen.items()]
    if as_json:
        write(json_document({"dry_run": True, "queues": plan}))
    else:
        for one in plan:
            write(f"{one_line(one['queue'])}: {one['would']}\n")
    return _report(_obstacles(seen, wanted))


async def _migrate(
    wanted: QueueType, as_json: bool, url: str | None, settings: Settings, session: AdminSession
) -> int:
    queues = await session.queues()
    seen = await _see_all(queues, settings)
    problems = _obstacles(seen, wanted) or [
        problem for name in seen if (problem := await _lock(queues, name)) is not None
    ]
    if problems:
        _report(problems)
        return fail("no queue was changed")
    if url is not None and wanted == "quorum":
        # Before there are quorum queues: their messages are under the policies from the start.
        try:
            login = settings.amqp_endpoints[0]
            await apply_policies(url, login, policies(settings, DELIVERY_LIMIT), [])
        except ManagementError as error:
            return fail(f"{error}; no queue was changed")
    code = await _migrate_all(queues, seen, wanted, as_json=as_json)
    if wanted == "quorum" and url is None and not as_json:
        write(_ADVICE)
    return code


async def _see_all(queues: Queues, settings: Settings) -> Mapping[str, Seen]:
    return {queue.name: await _see(queues, queue.name) for queue in durable_queues(settings)}


def _obstacles(seen: Mapping[str, Seen], wanted: QueueType) -> list[str]:
    found = (obstacle(name, one, wanted) for name, one in seen.items())
    return [problem for problem in found if problem is not None]


def _report(problems: Sequence[str]) -> int:
    for problem in problems:
        fail(problem)
    return EXIT_FAILED if problems else EXIT_OK


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
    queues: Queues, seen: Mapping[str, Seen], wanted: QueueType, *, as_json: bool
) -> int:
    done = [Progress(name, _type(one), wanted) for name, one in seen.items()]
    is_complete = False
    try:
        for progress in done:
            await _migrate_queue(queues, progress)
            if not as_json:
                write(f"{_sentence(progress)}\n")
        is_complete = True
    except _RefusedError as error:
        fail(str(error))
    finally:
        # Also when it is interrupted, or RabbitMQ goes away.
        if as_json:
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
    # So that nothing comes twice.
    await trio.lowlevel.checkpoint_if_cancelled()
    with uninterrupted():
        moved = await queues.move(queue, exchange)
    progress.without_user_id += moved.without_user_id
    return moved.count


async def _delete(queues: Queues, name: str) -> None:
    """Delete a queue that was emptied, unless messages came meanwhile: those are moved first."""
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
            would = f"would change from {before} to {wanted}, with {counted(ready)}"
        case _:
            would = (
                f"an unfinished migration would be completed, with {counted(ready)} in the queue "
                f"and {counted(aside)} put aside"
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
        f"{counted(progress.moved_out)} put aside, {counted(progress.moved_back)} brought back"
        + (f", {stripped} of them without their user_id" if stripped else "")
    )
