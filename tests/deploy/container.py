"""Containers as an engine makes them, by bubblewrap: what an image says is what they get.

They have a file system, processes and a host name of their own, and the network of whoever starts
them, unless they are given another.
"""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from broker.sandbox.broker_process import BrokerProcess
from broker.sandbox.kept_process import CLOSE_TIMEOUT, start_kept
from tests.lab.eventually import eventually

_COMMAND_TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to run a container.

    Attributes:
        root: Its file system, which it cannot write.
        user: User and group, as numbers.
        environment: All of it; nothing of this process's environment gets in.
        hosts: The names that it can resolve beside localhost, and their addresses.
        writable: Folders outside, and where they appear inside, to be written.
        network: A process whose network it has.
    """

    root: Path
    command: Sequence[str]
    user: str = "0:0"
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    hostname: str = "container"
    hosts: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[Path, str] = field(default_factory=dict)
    network: int | None = None


class Container:
    """A running container.

    Attributes:
        process: Bubblewrap, which waits for process 1 and passes its exit status on.
    """

    def __init__(self, process: BrokerProcess, recipe: Recipe) -> None:
        self.process = process
        self._recipe = recipe

    @property
    def first_process(self) -> int:
        """What is process 1 inside, by its number outside; only while it runs."""
        return _child(self.process.pid)

    async def stop(self, within: float) -> int:
        """Send SIGTERM to process 1, as engines do, and return the exit status."""
        os.kill(self.first_process, signal.SIGTERM)
        with trio.fail_after(within):
            return await self.process.wait()

    async def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as an engine does for a health check."""
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--wd")
        with trio.fail_after(_COMMAND_TIMEOUT):
            done = await trio.run_process(
                (
                    *("nsenter", f"--target={self.first_process}", *namespaces),
                    *("/usr/bin/env", "--ignore-environment"),
                    *(f"{name}={value}" for name, value in self._recipe.environment.items()),
                    *_unprivileged(self._recipe.user),
                    *command,
                ),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return subprocess.CompletedProcess(
            command, done.returncode, done.stdout.decode(), done.stderr.decode()
        )


@asynccontextmanager
async def open_container(recipe: Recipe, directory: Path) -> AsyncIterator[Container]:
    """Run a container for the length of the block; what it prints is in `broker.log`."""
    hosts = directory / "hosts"
    names = {"localhost": "127.0.0.1", **recipe.hosts}
    hosts.write_text("".join(f"{address} {name}\n" for name, address in names.items()))
    process = await start_kept(
        tuple(_command_line(recipe, hosts)),
        BrokerProcess,
        directory=directory,
        environment=os.environ,
        log=directory / "broker.log",
    )
    assert process is not None
    try:
        yield Container(process, recipe)
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await process.end()


@asynccontextmanager
async def open_network(directory: Path) -> AsyncIterator[int]:
    """Make a network of nothing but loopback; yields a process that has it."""
    process = await start_kept(
        ("bwrap", "--die-with-parent", "--unshare-net", "--bind", "/", "/", "sleep", "infinity"),
        BrokerProcess,
        directory=directory,
        environment=os.environ,
        log=directory / "network.log",
    )
    assert process is not None
    try:
        # Bubblewrap starts the command when its network is up.
        yield await eventually(lambda: _child(process.pid), "a network", until=_sleeps)
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await process.end()


def _child(process: int) -> int:
    """Return the only child of a process, or 0 while it has none."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text() or 0)


def _sleeps(process: int) -> bool:
    return process != 0 and Path(f"/proc/{process}/comm").read_text() == "sleep\n"


def _command_line(recipe: Recipe, hosts: Path) -> Iterator[str]:
    if recipe.network is not None:
        yield from ("nsenter", f"--net=/proc/{recipe.network}/ns/net")
    yield from ("bwrap", "--die-with-parent", "--as-pid-1", "--clearenv")
    yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", recipe.hostname)
    yield from ("--ro-bind", str(recipe.root), "/", "--proc", "/proc", "--dev", "/dev")
    yield from ("--ro-bind", str(hosts), "/etc/hosts", "--chdir", recipe.directory)
    for outside, inside in recipe.writable.items():
        yield from ("--bind", str(outside), inside)
    for name, value in recipe.environment.items():
        yield from ("--setenv", name, value)
    yield from (*_unprivileged(recipe.user), *recipe.command)


def _unprivileged(user: str) -> Sequence[str]:
    """Return a command of the image that runs another as a user, without any capability."""
    number, group = user.split(":")
    return (
        *("/usr/bin/setpriv", f"--reuid={number}", f"--regid={group}", "--clear-groups"),
        *("--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"),
    )
