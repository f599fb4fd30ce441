"""Start a command under a keeper (see `broker.sandbox.keeper`), and talk to both."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from broker.sandbox import keeper

CLOSE_TIMEOUT = 2 * keeper.GRACE
"""Seconds that `KeptProcess.end` may take: the keeper's grace, and as much again."""
_START_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class KeptProcess:
    """A command, which leads a process group, and its keeper. Made by `start_kept`."""

    pid: int
    log: Path
    _keeper: trio.Process

    @property
    def is_running(self) -> bool:
        """Whether the command has not ended yet."""
        return self._keeper.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command and its children. Does nothing once it has ended."""
        if self.is_running:
            # macOS answers EPERM for a group of which only a zombie is left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status; 128 + n after signal n."""
        return await self._keeper.wait()

    async def end(self) -> None:
        """Let the keeper end the command, by force if need be, and wait for both."""
        await _end(self._keeper)


async def start_kept[Kept: KeptProcess](
    command: Sequence[str],
    kind: type[Kept],
    *,
    directory: Path,
    environment: Mapping[str, str],
    log: Path,
    removes_directory: bool = False,
) -> Kept | None:
    """Start a command that ends with this process, however this process ends.

    What it prints is appended to the log. Of several keepers that are to remove the directory in
    which they run, the last does. Returns None when the command could not be started.
    """
    removing = ("--remove", str(directory)) if removes_directory else ()
    # Shielded, because a keeper that nobody knows of could not be ended.
    with log.open("ab") as output, trio.move_on_after(_START_TIMEOUT, shield=True):
        process = await trio.lowlevel.open_process(
            # -P: what lies in the directory is not to be imported.
            [sys.executable, "-P", "-m", keeper.__name__, *removing, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        async with process.stdout:
            reported = b""
            async for received in process.stdout:
                reported += received
                if reported.endswith(b"\n"):
                    return kind(int(reported), log, process)
        await _end(process)
    return None


async def _end(process: trio.Process) -> None:
    # End of file on its stdin is what makes the keeper end the command.
    if process.stdin is not None:
        await process.stdin.aclose()
    await process.wait()
