"""Commands run as people run them, each in a process of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from tests.lab.forked import ForkedProcess

PATIENCE = 180.0
"""Seconds; nothing here takes a tenth of them on a machine without other work."""


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
        out, err = streams = Path(written, "out"), Path(written, "err")
        process = ForkedProcess(
            *arguments, environment=environment, directory=directory, out=out, err=err
        )
        try:
            with trio.fail_after(PATIENCE):
                code = await process.wait()
        finally:
            process.kill()
        ran = Ran(code, *(stream.read_text("utf-8") for stream in streams))
    assert "Traceback" not in ran.err
    return ran
