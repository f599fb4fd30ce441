"""`broker queues list`."""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from broker.amqp.admin import AdminSession, Queues
from broker.cli.durable_queues import DurableQueue, durable_queues
from broker.cli.in_session import EXIT_OK, run_in_session, write
from broker.cli.option_types import Format
from broker.cli.output import json_document
from broker.cli.queues.migration import temporary_queue
from broker.cli.taking_settings import taking_settings
from broker.settings import Settings
from broker.telemetry.one_line import one_line

_HEADING = ("queue", "role", "exists", "type", "ready", "consumers")


class _Item(msgspec.Struct, frozen=True):
    """A queue as the list has it; `migrating` is what an unfinished migration has put aside."""

    queue: str
    role: str
    exists: bool
    type: str | None
    ready: int | None
    consumers: int | None
    migrating: int | None


@taking_settings
def list_queues(
    given: Mapping[str, str],
    *,
    format: Format = "text",  # noqa: A002 - named like the option
) -> int:
    """List the broker's durable queues. Changes nothing."""
    return run_in_session(given, partial(_list, format == "json"), name="queues")


async def _list(as_json: bool, settings: Settings, session: AdminSession) -> int:
    queues = await session.queues()
    items = [await _item(queues, queue) for queue in durable_queues(settings)]
    write(json_document(items) if as_json else _table(items))
    return EXIT_OK


async def _item(queues: Queues, queue: DurableQueue) -> _Item:
    state = await queues.look(queue.name)
    aside = await queues.look(temporary_queue(queue.name))
    return _Item(
        queue=queue.name,
        role=queue.role,
        exists=state is not None,
        type=state.type if state is not None else None,
        ready=state.ready if state is not None else None,
        consumers=state.consumers if state is not None else None,
        migrating=aside.ready if aside is not None else None,
    )


def _table(items: Sequence[_Item]) -> str:
    rows = [_HEADING, *map(_row, items)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [
        f"{one_line(item.queue)}: a migration is unfinished, {item.migrating} messages are in "
        f"{one_line(temporary_queue(item.queue))}; run 'broker queues migrate' again"
        for item in items
        if item.migrating is not None
    ]
    return "".join(f"{line}\n" for line in lines)


def _row(item: _Item) -> tuple[str, ...]:
    cells = (item.type, item.ready, item.consumers)
    return (
        one_line(item.queue),
        item.role,
        "yes" if item.exists else "no",
        *("-" if cell is None else str(cell) for cell in cells),
    )
