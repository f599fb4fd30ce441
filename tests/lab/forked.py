"""Commands of the broker in processes of their own, forked from one that has imported them.

Starting the interpreter and importing everything takes most of a second of a core each time.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import trio

from tests.lab.measured import measured

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("broker.__main__", "broker.cli.application", "broker.cli.check", "broker.cli.send"),
        *(f"broker.cli.dead_letters.{name}" for name in ("looking", "purging", "replaying")),
        *(f"broker.cli.queues.{name}" for name in ("listing", "migrating", "setting_policies")),
        "broker.service",
    ]
)
_SET_PARENT_DEATH_SIGNAL = 1


class ForkedProcess:
    """A command of the broker that runs from its making on; whoever makes it must kill it."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        directory: Path,
        out: Path,
        err: Path | None = None,
    ) -> None:
        """Start it; what it writes is appended, stderr to `out` when it has no file of its own."""
        out.touch()  # a caller may read it before the process writes
        self.log = out
        self._process = _FORKS.Process(
            target=_run, args=(arguments, dict(environment), directory, out, err or out)
        )
        with measured():  # the first one starts the process from which all are forked
            self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.exitcode is None

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit status; 128 + n after signal n."""
        await trio.lowlevel.wait_readable(self._process.sentinel)
        self._process.join()
        code = self._process.exitcode or 0
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """Kill it if it still runs, and wait until it is gone."""
        self._process.kill()
        self._process.join()


def _run(
    arguments: tuple[str, ...], environment: dict[str, str], directory: Path, out: Path, err: Path
) -> None:
    from broker.__main__ import main  # noqa: PLC0415 - not where the tests run

    if sys.platform == "linux":
        # The server of forks ends with the tests, however they end, and this with the server.
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for number, path in enumerate((out, err), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["broker", *arguments]
    main()
