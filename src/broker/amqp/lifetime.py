"""How long a session lives in the AMQP thread, and what ends with it."""

import asyncio
from collections.abc import Awaitable, Callable

import anyio

from broker.amqp.wire.errors import AmqpError
from broker.concurrency.error_groups import first_error


class Lifetime:
    """From the opening of a session to its end. Made anywhere; its methods run in asyncio.

    The end cancels the tasks, releases the calls from outside, and closes the connections.

    Attributes:
        tasks: The tasks of the session; what one raises ends it.
    """

    tasks: asyncio.TaskGroup

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._error: AmqpError | None = None
        self._calls: set[anyio.CancelScope] = set()
        self._closers: list[Callable[[], Awaitable[None]]] = []

    async def run[T](
        self, open_half: Callable[["Lifetime"], Awaitable[T]], opened: Callable[[T], None]
    ) -> None:
        """Open a session, keep it open until it ends, close it.

        Raises:
            AmqpError: It could not be opened, or it was lost.
        """

        async def begin() -> None:
            opened(await open_half(self))

        try:
            async with asyncio.TaskGroup() as self.tasks:
                self.tasks.create_task(begin())
                await self._ended.wait()
                # Leaving with an error is how the tasks of the group are cancelled.
                raise self._reason
        except* AmqpError as errors:
            self.fail(first_error(errors))
        finally:
            self.end()
            with anyio.CancelScope(shield=True):
                while self._closers:
                    closers, self._closers = self._closers, []
                    await asyncio.gather(*(close() for close in closers))
        if self._error is not None:
            raise self._error

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have something closed when the session ends, alongside everything else.

        Args:
            close: Closes it within two seconds, and never raises.
        """
        self._closers.append(close)

    def end(self) -> None:
        """Ask the session to end. All calls are released; does not wait."""
        self._ended.set()
        for call in tuple(self._calls):
            call.cancel()

    def fail(self, error: AmqpError) -> None:
        """End the session for a reason; the first one counts."""
        if not self._ended.is_set():
            self._error = error
        self.end()

    async def call[*Ts, T](self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await a call from outside, but not longer than the session lives.

        Raises:
            AmqpError: The session ended meanwhile, or the call raised it.
        """
        if not self._ended.is_set():
            with anyio.CancelScope() as scope:
                self._calls.add(scope)
                try:
                    return await function(*args)
                finally:
                    self._calls.remove(scope)
        raise self._reason

    @property
    def _reason(self) -> AmqpError:
        return self._error or AmqpError("the session has ended")
