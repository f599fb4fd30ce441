"""A name service that never answers, for the processes that are started with it."""

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import randrange

import pytest
import trio

_PORT = 53
# For longer than any test.
_RESOLV_CONF = "nameserver {host}\noptions timeout:30 attempts:5\n"
_NEW_MOUNTS = ("unshare", "--mount")
_WITH_FILE = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


class SilentResolver:
    def __init__(self, bound: socket.socket, file: Path) -> None:
        self._socket = trio.socket.from_stdlib_socket(bound)
        self._file = file

    def command(self, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs another one with this as its only name service."""
        return (*_NEW_MOUNTS, "sh", "-c", _WITH_FILE, str(self._file), *command)

    async def asked_for(self, host: str) -> None:
        label = host.partition(".")[0].encode()
        with trio.fail_after(30):
            while label not in await self._socket.recv(512):
                pass


@contextmanager
def open_silent_resolver(directory: Path) -> Iterator[SilentResolver]:
    """Be a resolver that takes questions and says nothing; skips the test where it cannot be."""
    if not _can_mount():
        pytest.skip("only the superuser, on Linux, can put a process before another resolv.conf")
    # Nobody else's, so that the port is free, also for tests that run at the same time.
    host = f"127.83.{randrange(256)}.{randrange(1, 255)}"
    file = directory / "resolv.conf"
    file.write_text(_RESOLV_CONF.format(host=host))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((host, _PORT))
        bound.setblocking(False)
        yield SilentResolver(bound, file)


@cache
def _can_mount() -> bool:
    if os.geteuid() != 0 or not Path("/etc/resolv.conf").exists():
        return False
    try:
        ended = subprocess.run((*_NEW_MOUNTS, "true"), check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return ended.returncode == 0
