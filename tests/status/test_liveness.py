"""A process that does not make progress must be seen, and one that only waits must not."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import trio
from anyio.from_thread import start_blocking_portal

from broker.amqp import Rabbit
from broker.router.mailbox import Mailbox
from broker.status.liveness import liveness
from broker.status.model import Check
from broker.status.vitals import Vitals
from tests.lab.autojump import autojump


@asynccontextmanager
async def router(*, answers: bool) -> AsyncIterator[Mailbox]:
    mailbox = Mailbox([])

    async def run() -> None:
        async for sign in mailbox.chat:
            assert isinstance(sign, trio.Event)
            sign.set()

    async with trio.open_nursery() as nursery:
        if answers:
            nursery.start_soon(run)
        yield mailbox
        nursery.cancel_scope.cancel()


def vitals(mailbox: Mailbox, answers: Callable[[], Awaitable[None]]) -> Vitals:
    rabbit = SimpleNamespace(answers=answers)
    return cast("Vitals", cast("Any", SimpleNamespace(mailbox=mailbox, rabbit=rabbit)))


async def test_both_answer() -> None:
    async with router(answers=True) as mailbox:
        found = await liveness(vitals(mailbox, trio.lowlevel.checkpoint))
    assert found == [Check("router"), Check("amqp")]


@autojump
async def test_a_router_that_takes_no_mail() -> None:
    async with router(answers=False) as mailbox:
        found = await liveness(vitals(mailbox, trio.lowlevel.checkpoint))
    assert found == [Check("router", "no sign of life in 3 s"), Check("amqp")]


async def test_an_event_loop_that_hangs() -> None:
    hanging = threading.Event()
    with start_blocking_portal("asyncio") as portal:
        portal.start_task_soon(hanging.wait)
        try:
            async with router(answers=True) as mailbox:
                found = await liveness(vitals(mailbox, Rabbit(portal).answers), 0.2)
        finally:
            hanging.set()
    assert found == [Check("router"), Check("amqp", "no sign of life in 0.2 s")]
