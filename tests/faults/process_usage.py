"""What a process holds now, from Linux's /proc."""

import os
from pathlib import Path

import msgspec

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(msgspec.Struct, frozen=True):
    """What a process holds."""

    resident_bytes: int
    open_files: int
    threads: int


def usage(pid: int) -> Usage:
    """Return what a process holds.

    Raises:
        OSError: There is no such process, or the system has no /proc.
    """
    process = Path(f"/proc/{pid}")
    return Usage(
        resident_bytes=int((process / "statm").read_text().split()[1]) * _PAGE,
        open_files=sum(1 for _ in (process / "fd").iterdir()),
        threads=sum(1 for _ in (process / "task").iterdir()),
    )
