"""Liveness: whether the process makes progress, independent of its peers."""

from collections.abc import Awaitable, Callable

import trio

from broker.status.model import Check
from broker.status.vitals import Vitals

DEADLINE = 3.0
"""Seconds in which each part must show a sign of life. A probe should wait a little longer."""


async def liveness(vitals: Vitals) -> list[Check]:
    """Ask the router and the AMQP thread for a sign of life; takes `DEADLINE` seconds at most.

    Trio's own thread need not be asked: without it, nobody answers at all.
    """
    problems: dict[str, str | None] = {}
    async with trio.open_nursery() as nursery:
        for name, ask in (
            ("amqp", vitals.rabbit.answers),
            ("router", vitals.mailbox.answered),
        ):
            nursery.start_soon(_ask, name, ask, problems)
    return [Check(name, problems[name]) for name in ("router", "amqp")]


async def _ask(
    name: str, ask: Callable[[], Awaitable[None]], problems: dict[str, str | None]
) -> None:
    problems[name] = f"no sign of life in {DEADLINE:g} s"
    with trio.move_on_after(DEADLINE):
        await ask()
        problems[name] = None
