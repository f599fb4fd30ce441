"""The border between a Trio block and its asyncio half in the AMQP thread.

Rare calls cross it through AnyIO's portal, streams through one thread-safe hand-off per batch.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
import trio
from anyio.from_thread import BlockingPortal

from broker.amqp.lifetime import Lifetime
from broker.amqp.wire.errors import AmqpError

_CLOSING_TIME = 3.0
"""Seconds for closing connections. They need two at most, unless the event loop hangs."""

_log = structlog.get_logger(__name__)


class SessionLostError(AmqpError):
    """The session could not be opened, or it was lost. Open a new one."""


class Border[Half]:
    """The way to an asyncio half and back. Made by `Rabbit.hosted`."""

    half: Half

    def __init__(self, portal: BlockingPortal, loop: asyncio.AbstractEventLoop) -> None:
        self._portal = portal
        self._loop = loop
        self._lifetime = Lifetime()
        self._token = trio.lowlevel.current_trio_token()
        # Consumers that are cancelled still need the half, so its end has a deadline instead.
        self._hosting = trio.CancelScope(shield=True)
        self.opened = trio.Event()

    async def run(self, open_half: Callable[[Lifetime], Awaitable[Half]]) -> None:
        """Host the half until it has ended. Not cancelled but asked to end: see `end`."""

        def opened(half: Half) -> None:
            self.half = half
            self._token.run_sync_soon(self.opened.set)

        with self._hosting:
            await self._portal.call_async(
                self._lifetime.run, open_half, opened, abandon_on_cancel=True
            )
        if self._hosting.cancelled_caught:
            _log.error("amqp_thread_hangs")

    def end(self) -> None:
        """Ask the half to end within three seconds. All calls are released; does not wait."""
        deadline = trio.current_time() + _CLOSING_TIME
        self._hosting.deadline = min(self._hosting.deadline, deadline)
        self._loop.call_soon_threadsafe(self._lifetime.end)

    async def call[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await a call in the AMQP thread. Cancelling it ends the half.

        Raises:
            AmqpError: The half was lost, or the call raised it.
        """
        try:
            return await self.attempt(function, *args)
        except trio.Cancelled:
            # aiormq closes the channel of a call that is cancelled, and its outcome is unknown.
            self.end()
            raise

    async def attempt[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await a call in the AMQP thread that may be cancelled without harm; else as `call`."""
        return await self._portal.call_async(self._lifetime.call, function, *args)

    def post[*Ts](self, function: Callable[[*Ts], None], *args: *Ts) -> None:
        """Run a function soon in the AMQP thread. Called in Trio's."""
        self._loop.call_soon_threadsafe(function, *args)

    def wake[*Ts](self, function: Callable[[*Ts], None], *args: *Ts) -> None:
        """Run a function soon in Trio's thread. Called in the AMQP thread."""
        # Nobody is left to take anything once Trio has finished.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, *args)
