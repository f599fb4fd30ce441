"""A systemd of its own, which runs the broker by its unit."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from broker.sandbox.kept_process import CLOSE_TIMEOUT, KeptProcess, start_kept
from tests.deploy.repository import ROOT
from tests.lab.eventually import eventually

SYSTEMD = Path("/lib/systemd/systemd")
_TIMEOUT = 120
_NAMESPACES = ("--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc")


def missing() -> str | None:
    """Return what this machine lacks to boot a systemd; None if it lacks nothing."""
    if not SYSTEMD.exists() or shutil.which("nsenter") is None:
        return "needs systemd and nsenter"
    tried = subprocess.run(
        ("unshare", *_NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/mnt"),  # noqa: S607
        capture_output=True,
        check=False,
    )
    return None if tried.returncode == 0 else "needs root that may make namespaces and mount"


class Machine:
    """A machine that is up. Made by `open_machine`.

    Attributes:
        etc: What is /etc/broker there.
        log: Where the broker logs.
    """

    def __init__(self, directory: Path) -> None:
        self.etc = directory / "etc"
        self.log = directory / "log" / "broker.log"
        self.first_process = 0

    def write(self, name: str, content: str) -> None:
        """Write a file below /etc/broker, which only root may read."""
        file = self.etc / name
        file.write_text(content)
        file.chmod(0o600)

    def configure(self, settings: Mapping[str, str]) -> None:
        self.write("broker.env", "".join(f"{name}={value}\n" for name, value in settings.items()))

    async def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Do what systemctl does on the machine, and return what it writes."""
        with trio.fail_after(_TIMEOUT):
            done = await trio.run_process(
                (
                    *("nsenter", "--target", str(self.first_process), "--mount", "--pid"),
                    *("--uts", "--ipc", "--cgroup", "--root", "--wd=/", "systemctl", *arguments),
                ),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        said = (done.stdout + done.stderr).decode().strip()
        assert not check or done.returncode == 0, said
        return said

    async def show(self, *properties: str) -> list[str]:
        """Return properties of the broker's unit, as text."""
        return [await self.systemctl("show", "--value", f"-p{one}", "broker") for one in properties]

    async def until(self, **properties: str) -> None:
        """Wait until properties of the broker's unit have these values."""
        await eventually(
            lambda: self.show(*properties),
            f"{properties}",
            until=lambda found: found == list(properties.values()),
            within=_TIMEOUT,
        )

    def process_status(self, pid: str) -> Mapping[str, str]:
        """Return /proc/PID/status of a process by its number on the machine."""
        status = Path(f"/proc/{self.first_process}/root/proc/{pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in status.splitlines())


@asynccontextmanager
async def open_machine(directory: Path) -> AsyncIterator[Machine]:
    """Boot a machine where the broker is installed and not yet started."""
    for name in ("etc", "log", "mounts"):
        (directory / name).mkdir()
    machine = Machine(directory)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = (str(ROOT / "src"), sysconfig.get_path("purelib"))
    process = await start_kept(
        (
            *("unshare", "--mount", str(ROOT / "tests/deploy/boot_systemd"), str(directory)),
            *(str(ROOT / "deploy/systemd/broker.service"), version, sys.base_prefix),
            ":".join(packages),
        ),
        KeptProcess,
        directory=directory,
        environment=os.environ,
        log=directory / "boot.log",
    )
    assert process is not None
    try:
        machine.first_process = await eventually(
            lambda: _systemd_below(process.pid), "systemd", within=_TIMEOUT
        )
        await eventually(lambda: _is_up(machine), "the machine is up", within=_TIMEOUT)
        yield machine
    finally:
        with trio.move_on_after(2 * CLOSE_TIMEOUT, shield=True):
            with trio.move_on_after(CLOSE_TIMEOUT), suppress(ProcessLookupError):
                if machine.first_process:
                    os.kill(machine.first_process, signal.SIGKILL)
                await process.wait()  # until the control group is removed
            await process.end()


async def _is_up(machine: Machine) -> bool:
    said = await machine.systemctl("is-active", "multi-user.target", check=False)
    return said == "active"


def _systemd_below(pid: int) -> int:
    """Return the process that has become systemd among the children of a process; 0 if none has."""
    with suppress(FileNotFoundError, ProcessLookupError):  # one of them has just ended
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return child
                if found := _systemd_below(child):
                    return found
    return 0
