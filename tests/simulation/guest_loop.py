"""An asyncio event loop inside of a Trio run: one thread, one clock, nothing left to the system.

In the real process the AMQP side has a thread of its own. Here a Trio task runs its loop until it
has nothing to do, or until chance lets the Trio side have a turn, and the loop's clock is Trio's.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from random import random
from typing import Any, Protocol, Self

import sniffio
import trio

from broker.concurrency.wakeup import Wakeup

_GIVE_WAY = 0.1
"""The chance in each turn of the asyncio loop that Trio's tasks run before the next."""


class Dialer(Protocol):
    async def connect(
        self, loop: "GuestLoop", protocol: asyncio.Protocol, host: str
    ) -> asyncio.Transport: ...


class _NoWaiting(selectors.SelectSelector):
    """Stops the loop where it would wait, and knows for how long it would have."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self.timeout: float | None = 0
        self._stop = stop

    def select(self, timeout: float | None = None) -> list[Any]:
        self.timeout = timeout
        if timeout != 0 or random() < _GIVE_WAY:
            self._stop()
        return []


class _Numbered:
    """Hashed by a number: the order in a set then is the same in every run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class _Task(_Numbered, asyncio.Task[Any]):
    def __new__(cls, loop: "GuestLoop", *_: Any, **__: Any) -> Self:
        task = super().__new__(cls)
        # Before asyncio puts it into a set.
        task.number = loop.next_number()
        return task

    def __init__(self, loop: "GuestLoop", coroutine: Any, **options: Any) -> None:
        super().__init__(coroutine, loop=loop, **options)


class _Future(_Numbered, asyncio.Future[Any]):
    pass


class GuestLoop(asyncio.SelectorEventLoop):
    """The event loop. Make it, use it and close it inside of one `trio.run`."""

    def __init__(self, dialer: Dialer) -> None:
        self._waiting = _NoWaiting(self.stop)
        self._last_number = 0
        self._changed = Wakeup()
        self._dialer = dialer
        super().__init__(self._waiting)
        self.set_task_factory(_Task)  # type: ignore[arg-type]  # its result is one

    def next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def time(self) -> float:
        return trio.current_time()

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future.number = self.next_number()
        return future

    def call_soon_threadsafe[*Ts](
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        # All that comes from Trio's side comes this way; what the loop asks of itself need not.
        self._changed.set()
        return self.call_soon(callback, *args, context=context)

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], *, sock: str, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = protocol_factory()
        transport = await self._dialer.connect(self, protocol, sock)
        protocol.connection_made(transport)
        return transport, protocol

    async def host(self) -> None:
        while True:
            sniffio.thread_local.name = None
            self.run_forever()
            sniffio.thread_local.name = "trio"
            timeout = self._waiting.timeout
            if timeout == 0:
                await trio.lowlevel.checkpoint()
            else:
                with trio.move_on_after(float("inf") if timeout is None else timeout):
                    await self._changed.wait()


class GuestPortal:
    """Calls from Trio into the loop; the part of AnyIO's portal that the broker uses."""

    def __init__(self, loop: GuestLoop) -> None:
        self._loop = loop

    async def call_async[*Ts, T](
        self,
        function: Callable[[*Ts], Awaitable[T] | T],
        *args: *Ts,
        abandon_on_cancel: bool = False,
    ) -> T:
        """Call a function there. Cancelled, it cancels the call, and waits until that has ended."""
        done = trio.Event()
        task: asyncio.Task[T] | None = None

        async def call() -> T:
            result = function(*args)
            return await result if isinstance(result, Coroutine) else result  # type: ignore[return-value]

        def start() -> None:
            nonlocal task
            task = self._loop.create_task(call())
            task.add_done_callback(lambda _: done.set())

        self._loop.call_soon_threadsafe(start)
        try:
            await done.wait()
        except trio.Cancelled:
            self._loop.call_soon_threadsafe(lambda: task and task.cancel())
            if abandon_on_cancel:
                raise
            with trio.CancelScope(shield=True):
                await done.wait()
            assert task is not None
            if not task.cancelled():
                task.result()
            raise
        assert task is not None
        return task.result()
