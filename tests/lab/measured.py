"""Which of the processes that tests start are measured by coverage.

Coverage makes the start of an interpreter ten times slower. Commands are forked from one process,
which is measured, so that all that they run counts; keepers, and the few commands that are started
as people start them, would add next to nothing to it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLE = "COVERAGE_PROCESS_CONFIG"
"""Makes an interpreter measure itself from its start; without coverage it is not there."""
_kept: dict[str, str] = {}


def measure_no_children() -> None:
    """Let the processes that this one starts from now on not be measured."""
    if _VARIABLE in os.environ:
        _kept[_VARIABLE] = os.environ.pop(_VARIABLE)


@contextmanager
def measured() -> Iterator[None]:
    """Let what is started in the block be measured, if this process is."""
    os.environ.update(_kept)
    try:
        yield
    finally:
        for variable in _kept:
            os.environ.pop(variable, None)
