"""The AMQP thread: an asyncio event loop that hosts everything AMQP, hidden behind Trio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.amqp.border import Border, hosted
from broker.amqp.lifetime import Lifetime
from broker.amqp.session import Session, open_session
from broker.amqp.session_parameters import SessionParameters

_LEAVING = 1.0
"""Seconds for the thread to end. Sessions have closed before, so it has nothing left to do."""


@asynccontextmanager
async def open_rabbit() -> AsyncIterator["Rabbit"]:
    """Start the AMQP thread, and end it when the block is left.

    A thread that has not ended after a second is abandoned. It is a daemon, which does not hold up
    the end of the process.
    """
    with ExitStack() as running:
        portal = running.enter_context(start_blocking_portal("asyncio", name="amqp"))
        ending = running.pop_all()
    try:
        yield Rabbit(portal)
    finally:
        with trio.move_on_after(_LEAVING, shield=True):
            await trio.to_thread.run_sync(ending.close, abandon_on_cancel=True)


class Rabbit:
    """What Trio tasks may ask of the AMQP thread. Made by `open_rabbit`."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def open_session(self, parameters: SessionParameters) -> AbstractAsyncContextManager[Session]:
        """Open a session with RabbitMQ; see `broker.amqp.session.open_session`."""
        return open_session(self._portal, parameters)

    def hosted[Half](
        self, open_half: Callable[[Lifetime], Awaitable[Half]]
    ) -> AbstractAsyncContextManager[Border[Half]]:
        """Host another kind of session in the AMQP thread; see `broker.amqp.border.hosted`."""
        return hosted(self._portal, open_half)

    async def answers(self) -> None:
        """Return when the event loop of the AMQP thread has taken a turn.

        May be cancelled at any time, also when the loop never answers.
        """
        await self._portal.call_async(asyncio.sleep, 0, abandon_on_cancel=True)

    async def run[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run a coroutine function in the AMQP thread; cancelling this cancels it there."""
        return await self._portal.call_async(function, *args)
