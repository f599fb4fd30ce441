"""Builds the contenders that are not written in Python, each in a folder of its own."""

import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, SubprocessError

import trio

from tests.bench.names import AGENTS, INPUT_QUEUE, OUTPUT_QUEUE, PEER_PREFETCH

_CONTENDERS = Path(__file__).parent / "contenders"
_C_SOURCE = _CONTENDERS / "rabbitmq_c.c"
_NODE_SOURCES = _CONTENDERS / "node"
_INSTALL_TIMEOUT = 120.0


class CannotBuildError(Exception):
    """Something is missing on this machine; the text says what."""


@dataclass(frozen=True)
class Built:
    """A program that is ready to be started.

    Attributes:
        command: What starts it, without arguments.
        library: What it shows, and its version.
        prefetch: Its own; None if it takes the broker's.
    """

    command: tuple[str, ...]
    library: str
    version: str
    prefetch: int | None = None

    def started_with(self, url: str, prefetch: int) -> tuple[str, ...]:
        """Return the command with its arguments."""
        window = self.prefetch or prefetch
        return (*self.command, url, str(window), INPUT_QUEUE, OUTPUT_QUEUE, *AGENTS)


async def build_rabbitmq_c(directory: Path) -> Built:
    """Compile the program in C.

    Raises:
        CannotBuildError: There is no compiler, or no header of the library.
    """
    compiler = _found("cc", "apt-get install gcc")
    headers = await _run(compiler, "-fsyntax-only", "-include", "amqp.h", "-x", "c", "/dev/null")
    if headers.returncode != 0:
        raise CannotBuildError(
            "rabbitmq-c's headers are missing: apt-get install libc6-dev librabbitmq-dev"
        )
    program = str(directory / "rabbitmq_c")
    compiled = await _run(
        compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, str(_C_SOURCE), "-lrabbitmq"
    )
    if compiled.returncode != 0:
        raise SubprocessError(f"{_C_SOURCE.name} does not compile:\n{compiled.stderr.decode()}")
    version = await _run(program)
    return Built((program,), "rabbitmq-c", version.stdout.decode().strip())


async def build_amqplib(directory: Path) -> Built:
    """Install the library for Node.js, as pinned, beside a copy of the program.

    Raises:
        CannotBuildError: Node.js or npm is missing, or npm could not install the library.
    """
    node = _found("node", "apt-get install nodejs")
    npm = _found("npm", "apt-get install npm")
    target = directory / "node"
    shutil.copytree(_NODE_SOURCES, target)
    installed: CompletedProcess[bytes] | None = None
    with trio.move_on_after(_INSTALL_TIMEOUT):
        installed = await _run(
            *(npm, "ci", "--prefix", str(target), "--prefer-offline"),
            *("--ignore-scripts", "--no-audit", "--no-fund"),
        )
    if installed is None:
        raise CannotBuildError(f"npm did not install amqplib within {_INSTALL_TIMEOUT:g} s")
    if installed.returncode != 0:
        lines = installed.stderr.decode(errors="replace").strip().splitlines()
        raise CannotBuildError(f"npm could not install amqplib: {lines[0] if lines else ''}")
    pins = json.loads((target / "package.json").read_text(encoding="utf-8"))
    version = (await _run(node, "--version")).stdout.decode().strip()
    return Built(
        (node, str(target / "amqplib_confirms.js")),
        "amqplib",
        f"{pins['dependencies']['amqplib']}, Node.js {version.removeprefix('v')}",
        PEER_PREFETCH,
    )


type Build = Callable[[Path], Awaitable[Built]]


async def build_each(
    builds: Mapping[str, Build], directory: Path
) -> tuple[dict[str, Built], dict[str, str]]:
    """Build what can be built here.

    Returns:
        The programs, and why others are missing, both by the names given.
    """
    built: dict[str, Built] = {}
    missing: dict[str, str] = {}
    for name, build in builds.items():
        try:
            built[name] = await build(directory)
        except CannotBuildError as error:
            missing[name] = str(error)
    return built, missing


def _found(command: str, advice: str) -> str:
    found = shutil.which(command)
    if found is None:
        raise CannotBuildError(f"{command} is missing: {advice}")
    return found


async def _run(*command: str) -> CompletedProcess[bytes]:
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
