"""Hosts of a network of their own, each of which can be cut off without a sound.

A host is a network namespace. All are linked by veth pairs to a router, which is a namespace as
well, and so is this machine: what runs here reaches every host, and every host all others. The
router drops what goes to a host that is cut off and what comes from it, and says nothing: no
connection is refused or reset, none ends. All links stay up, so nobody learns it from the kernel.

The namespaces, and with them all links, live as long as a process in each, and these end with this
process, however it ends.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import choice
from tempfile import TemporaryDirectory
from typing import Final

import trio

from broker.sandbox.kept_process import CLOSE_TIMEOUT, KeptProcess, start_kept
from tests.lab.eventually import eventually

_COMMANDS: Final = ("ip", "nsenter", "unshare")
_SUBNETS: Final = "198.18"
"""Set aside for tests of networks: no other host has such an address."""


@dataclass(frozen=True)
class Host:
    """A host.

    Attributes:
        address: Its IPv4 address.
        inside: What comes before a command that is to run on it.
    """

    address: str
    inside: Sequence[str]


HERE: Final = Host("127.0.0.1", ())
"""This machine, and only for itself."""


class Network:
    """Hosts and the router between them. Made by `open_network`."""

    def __init__(self, hosts: Sequence[Host], router: Sequence[str]) -> None:
        self.hosts: Final = hosts
        self._router = router

    async def cut(self, host: Host) -> None:
        """Drop everything that goes to a host or comes from it, until `mend`."""
        await self._rule("add", host)

    async def mend(self, host: Host) -> None:
        await self._rule("del", host)

    async def _rule(self, action: str, host: Host) -> None:
        for way in ("from", "to"):
            await _run(*self._router, "ip", "rule", action, way, host.address, "blackhole")


def why_no_network() -> str | None:
    """Say why no network can be made on this machine; None if it can. It takes root, on Linux."""
    for command in _COMMANDS:
        if shutil.which(command) is None:
            return f"the command {command} is missing"
    link = ("ip", "link", "add", "one", "type", "veth", "peer", "name", "other")
    tried = subprocess.run(
        ("unshare", "--net", *link),  # noqa: S607 - as they were found on the PATH
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no network namespaces: {tried.stderr.strip()}" if tried.returncode else None


@asynccontextmanager
async def open_network(size: int) -> AsyncIterator[Network]:
    """Make so many hosts for the length of the context. See `why_no_network`."""
    name, subnet = _unused_subnet()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="hosts-")))
        router, *others = [
            await stack.enter_async_context(_namespace(directory)) for _ in range(size + 1)
        ]
        await _run(*_inside(router), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        # The first link is that of this machine.
        for number, namespace in enumerate((None, *others)):
            await _link(f"{name}-{number}", f"{subnet}.{4 * number}", router, namespace)
        addresses = [f"{subnet}.{4 * number + 2}" for number in range(1, size + 1)]
        yield Network(list(map(Host, addresses, map(_inside, others))), _inside(router))


def _unused_subnet() -> tuple[str, str]:
    """Return what the links of a network are called, and how its addresses begin."""
    unused = [third for third in range(256) if not Path(f"/sys/class/net/hosts{third}-0").exists()]
    third = choice(unused)
    return f"hosts{third}", f"{_SUBNETS}.{third}"


async def _link(name: str, network: str, router: int, namespace: int | None) -> None:
    """Link a namespace, or this one, to the router; `network` is the first of four addresses."""
    start, _, last = network.rpartition(".")
    gateway, address = f"{start}.{int(last) + 1}", f"{start}.{int(last) + 2}"
    far = f"{name}r"
    inside = () if namespace is None else _inside(namespace)
    await _run("ip", "link", "add", name, "type", "veth", "peer", "name", far)
    await _run("ip", "link", "set", far, "netns", str(router))
    if namespace is not None:
        await _run("ip", "link", "set", name, "netns", str(namespace))
        await _run(*inside, "ip", "link", "set", "lo", "up")
    for where, end, own in ((_inside(router), far, gateway), (inside, name, address)):
        await _run(*where, "ip", "address", "add", f"{own}/30", "dev", end)
        await _run(*where, "ip", "link", "set", end, "up")
    # Nothing else can be reached from a host, and it learns that at once: a look-up by name, say.
    await _run(*inside, "ip", "route", "add", f"{start}.0/24", "via", gateway)


@asynccontextmanager
async def _namespace(directory: Path) -> AsyncIterator[int]:
    """Keep a process in a network namespace of its own for the length of the context."""
    log = directory / "namespaces.log"
    kept = await start_kept(
        ("unshare", "--net", "sleep", "infinity"),
        KeptProcess,
        directory=directory,
        environment=os.environ,
        log=log,
    )
    assert kept is not None
    try:
        await eventually(lambda: not kept.is_running or _is_apart(kept.pid), "a namespace")
        if not kept.is_running:
            raise RuntimeError(log.read_text(encoding="utf-8").strip())
        yield kept.pid
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await kept.end()


def _is_apart(process: int) -> bool:
    own, other = (Path(f"/proc/{one}/ns/net").readlink() for one in ("self", process))
    return own != other


def _inside(process: int) -> Sequence[str]:
    return ("nsenter", f"--net=/proc/{process}/ns/net", "--")


async def _run(*command: str) -> None:
    completed = await trio.run_process(command, capture_stderr=True, check=False)
    if completed.returncode != 0:
        said = completed.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"{' '.join(command)}: {said}")
