"""A clock that jumps to the next deadline as soon as every task waits: nothing waits for real."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio
from trio.testing import MockClock


def _run[T](
    main: Callable[[], Awaitable[T]],
    *,
    clock: None,  # pytest-trio's own, if the test asked for one
    instruments: Sequence[trio.abc.Instrument],
) -> T:
    assert clock is None
    return trio.run(main, clock=MockClock(autojump_threshold=0), instruments=instruments)


autojump = pytest.mark.trio(run=_run)
"""Marks a test to run on such a clock."""
