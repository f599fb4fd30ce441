"""The AMQP thread: an asyncio event loop that hosts everything AMQP, hidden behind Trio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.amqp.asyncio_session import AsyncioSession
from broker.amqp.border import Border, SessionLostError
from broker.amqp.lifetime import Lifetime
from broker.amqp.session import Session
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.wire.errors import AmqpError
from broker.concurrency.error_groups import first_error

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

    @asynccontextmanager
    async def open_session(self, parameters: SessionParameters) -> AsyncIterator[Session]:
        """Open a session with RabbitMQ; see `hosted`.

        Deliveries that are not settled when it is closed return to their queues.
        """
        async with self.hosted(partial(AsyncioSession.open, parameters)) as border:
            yield Session(border, parameters.drain_timeout)

    @asynccontextmanager
    async def hosted[Half](
        self, open_half: Callable[[Lifetime], Awaitable[Half]]
    ) -> AsyncIterator[Border[Half]]:
        """Open an asyncio half in the AMQP thread, and close it at the end of the block.

        The block is cancelled when the half is lost. When the block ends or is cancelled, the
        connections are closed within three seconds, whatever RabbitMQ does.

        Raises:
            SessionLostError: It could not be opened, or it was lost.
        """
        lost: BaseExceptionGroup[AmqpError] | None = None
        try:
            async with trio.open_nursery() as nursery:
                loop = await self._portal.call_async(asyncio.get_running_loop)
                border = Border[Half](self._portal, loop)
                nursery.start_soon(border.run, open_half)
                try:
                    await border.opened.wait()
                    yield border
                finally:
                    border.end()
        except* AmqpError as errors:
            lost = errors
        if lost is not None:
            raise SessionLostError(str(first_error(lost))) from lost

    async def answers(self) -> None:
        """Return when the event loop of the AMQP thread has taken a turn.

        May be cancelled at any time, also when the loop never answers.
        """
        await self._portal.call_async(asyncio.sleep, 0, abandon_on_cancel=True)

    async def run[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run a coroutine function in the AMQP thread; cancelling this cancels it there."""
        return await self._portal.call_async(function, *args)
