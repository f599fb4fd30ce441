"""Liveness: whether the process makes progress, independent of its peers."""

from collections.abc import Awaitable, Callable

import trio

from broker.status.model import Check
from broker.status.vitals import Vitals

DEADLINE = 3.0
"""Seconds in which each part must show a sign of life. A probe should wait a little longer."""


async def liveness(vitals: Vitals, deadline: float = DEADLINE) -> list[Check]:
    """Ask the router and the AMQP thread for a sign of life; takes `deadline` seconds at most.

    Trio's own thread need not be asked: without it, nobody answers at all.
    """
    answered = dict.fromkeys(("router", "amqp"), False)

    async def ask(name: str, sign_of_life: Callable[[], Awaitable[None]]) -> None:
        with trio.move_on_after(deadline):
            await sign_of_life()
            answered[name] = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "amqp", vitals.rabbit.answers)
        nursery.start_soon(ask, "router", vitals.mailbox.answered)
    problem = f"no sign of life in {deadline:g} s"
    return [Check(name, None if is_alive else problem) for name, is_alive in answered.items()]
