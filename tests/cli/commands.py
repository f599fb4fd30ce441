"""Commands run as people run them: each in a process, forked from one that has imported them."""

import json
import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

PATIENCE = 60.0

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("broker.__main__", "broker.cli.application", "broker.cli.check", "broker.cli.send"),
        *(f"broker.cli.dead_letters.{name}" for name in ("looking", "purging", "replaying")),
        *(f"broker.cli.queues.{name}" for name in ("listing", "migrating", "setting_policies")),
    ]
)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


async def run_command(*arguments: str, environment: Mapping[str, str], directory: Path) -> Ran:
    """Run a command to its end."""
    with TemporaryDirectory() as written:
        streams = Path(written, "out"), Path(written, "err")
        process = _FORKS.Process(
            target=_run, args=(arguments, dict(environment), directory, *streams)
        )
        process.start()
        try:
            with trio.fail_after(PATIENCE):
                await trio.lowlevel.wait_readable(process.sentinel)
        finally:
            process.kill()
            process.join()
        ran = Ran(process.exitcode or 0, *(stream.read_text("utf-8") for stream in streams))
    assert "Traceback" not in ran.err
    return ran


def _run(
    arguments: tuple[str, ...], environment: dict[str, str], directory: Path, out: Path, err: Path
) -> None:
    from broker.__main__ import main  # noqa: PLC0415 - not where the tests run

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for number, path in enumerate((out, err), 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["broker", *arguments]
    main()
