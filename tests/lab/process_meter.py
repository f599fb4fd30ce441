"""What processes use and hold, from Linux's /proc. A process that has ended is an OSError."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """What a process holds now, without its children."""

    resident_bytes: int
    open_files: int
    threads: int


def usage(pid: int) -> Usage:
    process = Path(f"/proc/{pid}")
    return Usage(
        resident_bytes=int((process / "statm").read_text().split()[1]) * _PAGE,
        open_files=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
    )


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, its threads and all its children."""
    return _total(_own_cpu_seconds, pid)


def peak_memory(pid: int) -> int:
    """Return the most resident memory so far of a process and its children, in bytes."""
    return _total(_own_peak_memory, pid)


def resident_memory(pid: int) -> int:
    """Return the resident memory of a process and its children now, in bytes."""
    return _total(_own_resident_memory, pid)


def _total[Figure: (int, float)](own: Callable[[int], Figure], pid: int) -> Figure:
    total = own(pid)
    for child in _tree(pid)[1:]:
        with suppress(FileNotFoundError, ProcessLookupError):  # the child has just ended
            total += own(child)
    return total


def _own_resident_memory(pid: int) -> int:
    return usage(pid).resident_bytes


def _tree(pid: int) -> list[int]:
    children = list[int]()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            children += map(int, (task / "children").read_text().split())
    return [pid, *(one for child in children for one in _tree(child))]


def _own_cpu_seconds(pid: int) -> float:
    # After the name, which may hold anything: state is field 3, utime to cstime are 14 to 17.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _own_peak_memory(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
