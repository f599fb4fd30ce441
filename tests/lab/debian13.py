"""The Debian 13 tree of `scripts/debian13`, and RabbitMQ 4.0 out of it, on any other Linux."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.sandbox.rabbitmq_installation import Installation

_SCRIPT = Path(__file__).parents[2] / "scripts" / "debian13"
_RABBITMQ = "/usr/lib/rabbitmq/bin"
_SEARCH_PATH = f"{_RABBITMQ}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_MAKING_TIMEOUT = 900
# The process becomes the program, so that it gets the signals.
_IN_TREE = """#!/bin/sh
exec unshare --mount sh -ec '
    tree=$1
    shift
    for folder in /proc /sys /dev "$TMPDIR"; do mount --rbind "$folder" "$tree$folder"; done
    exec chroot "$tree" "$@"' sh {tree} {program} "$@"
"""


@contextmanager
def debian13_tree() -> Iterator[Path]:
    """Hold the tree, made if need be, for the length of the block.

    Skips the test where there can be none.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a Debian 13 tree needs Linux and root")
    made = subprocess.run(
        [_SCRIPT, "--tree"], capture_output=True, text=True, check=False, timeout=_MAKING_TIMEOUT
    )
    if made.returncode != 0:
        pytest.skip(f"there is no Debian 13 tree: {made.stderr.strip().splitlines()[-1]}")
    tree = Path(made.stdout.strip())
    with Path(f"{tree}.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield tree


def rabbitmq_of(tree: Path, directory: Path) -> Installation:
    """Write commands into a directory that run the tree's RabbitMQ, which writes in /tmp only."""
    for program in (f"{_RABBITMQ}/rabbitmq-server", f"{_RABBITMQ}/rabbitmqctl", "/usr/bin/epmd"):
        command = directory / Path(program).name
        text = _IN_TREE.format(tree=tree, program=program)
        command.write_text(text.replace("$TMPDIR", tempfile.gettempdir()))
        command.chmod(0o755)
    server, ctl, epmd = (
        str(directory / name) for name in ("rabbitmq-server", "rabbitmqctl", "epmd")
    )
    return Installation(server, ctl, epmd, _SEARCH_PATH)
