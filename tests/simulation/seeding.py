"""One seed for every source of chance, so that a run repeats exactly."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import trio


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed `random` and the order in which Trio runs its tasks, and restore both afterwards."""
    scheduler = trio._core._run  # noqa: SLF001 - as pytest-trio does: there is no public way
    order = scheduler._r  # noqa: SLF001
    states = random.getstate(), order.getstate()
    random.seed(seed)
    order.seed(seed)
    try:
        with patch.object(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
            yield
    finally:
        random.setstate(states[0])
        order.setstate(states[1])
