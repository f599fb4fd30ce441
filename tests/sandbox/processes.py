"""Looks at the processes that a node consists of."""

import time
from contextlib import suppress
from pathlib import Path

import pytest

PATIENCE = 90.0
"""Nothing here takes this long; it turns a hang into a failure."""

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="looks at processes through /proc"
)


def processes_of(directory: Path) -> list[int]:
    """Find the living processes whose home is the directory: all that a node consists of."""
    return processes_with("HOME", str(directory))


def processes_with(variable: str, value: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        if f"{variable}={value}".encode() in environment:
            found.append(int(process.name))
    return found


def listening_addresses(processes: list[int]) -> dict[int, str]:
    """Give port and hexadecimal address of all sockets on which the processes listen."""
    inodes = set()
    for process in processes:
        with suppress(OSError):  # the process has ended meanwhile
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with suppress(FileNotFoundError):  # it was closed meanwhile
                    link = str(descriptor.readlink())
                    inodes.add(link.removeprefix("socket:[").removesuffix("]"))
    addresses = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                address, port = local.split(":")
                addresses[int(port, 16)] = address
    return addresses


def wait_until_gone(directory: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while directory.exists() or processes_of(directory):
        assert time.monotonic() < deadline
        time.sleep(0.05)
