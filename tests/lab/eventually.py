"""Waiting for something that no event announces."""

import reprlib
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, overload

import trio

PATIENCE = 30.0
INTERVAL = 0.05


@overload
async def eventually[T](
    look: Callable[[], Awaitable[T]],
    what: str = ...,
    *,
    until: Callable[[T], object] = ...,
    within: float = ...,
    interval: float = ...,
) -> T: ...
@overload
async def eventually[T](
    look: Callable[[], T],
    what: str = ...,
    *,
    until: Callable[[T], object] = ...,
    within: float = ...,
    interval: float = ...,
) -> T: ...
async def eventually(
    look: Callable[[], Any],
    what: str = "what was waited for",
    *,
    until: Callable[[Any], object] = bool,
    within: float = PATIENCE,
    interval: float = INTERVAL,
) -> Any:
    """Look again and again until what is seen is right, and return it."""
    seen = None
    with trio.move_on_after(within):
        while True:
            looked = look()
            seen = await looked if isawaitable(looked) else looked
            if until(seen):
                return seen
            await trio.sleep(interval)
    raise AssertionError(f"{what}: not within {within:g} s, but {reprlib.repr(seen)}")
