import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.sandbox import keeper
from tests.sandbox.processes import PATIENCE

SLEEP = ("sleep", "1000")
KEEPER = ("-m", keeper.__name__)
IMPATIENT_KEEPER = """
import sys
from broker.sandbox import keeper
keeper.GRACE = 0.1
sys.exit(keeper.main(sys.argv[1:]))
"""
OPENER = """
import subprocess, sys, time
kept = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(int(kept.stdout.readline()), flush=True)
time.sleep(1000)
"""


def keep(
    *command: str, remove: Path | None = None, program: tuple[str, ...] = KEEPER
) -> subprocess.Popen[bytes]:
    options = () if remove is None else ("--remove", str(remove))
    return open_([sys.executable, *program, *options, "--", *command])


def open_(command: list[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)


def reported_pid(kept: subprocess.Popen[bytes]) -> int:
    assert kept.stdout is not None
    return int(kept.stdout.readline())


def wait_until_all_are_gone(kept: subprocess.Popen[bytes]) -> bytes:
    """Close stdin and read what was written to stderr.

    Its end comes when the keeper and everything it started have ended, for they all hold it open.
    """
    return kept.communicate(timeout=PATIENCE)[1]


def test_ends_the_command_and_its_children_when_stdin_ends() -> None:
    kept = keep("sh", "-c", "sleep 1000 & echo started >&2; wait")
    pid = reported_pid(kept)
    assert kept.stderr is not None
    assert kept.stderr.readline() == b"started\n"
    assert os.getpgid(pid) == pid != os.getpgid(kept.pid)

    wait_until_all_are_gone(kept)

    assert kept.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("request_", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ends_the_command_on_a_signal(request_: signal.Signals) -> None:
    kept = keep(*SLEEP)
    reported_pid(kept)

    kept.send_signal(request_)

    assert kept.wait(PATIENCE) == 128 + signal.SIGTERM
    wait_until_all_are_gone(kept)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 0", 0),
        ("kill -KILL $$", 128 + signal.SIGKILL),
        pytest.param("sleep 1000 & exit 3", 3, id="leaving a child"),
    ],
)
def test_exits_with_the_status_of_a_command_that_ends_by_itself(script: str, status: int) -> None:
    kept = keep("sh", "-c", script)

    assert kept.wait(PATIENCE) == status
    wait_until_all_are_gone(kept)


def test_ends_a_stopped_command() -> None:
    kept = keep(*SLEEP)
    os.kill(reported_pid(kept), signal.SIGSTOP)

    wait_until_all_are_gone(kept)

    assert kept.returncode == 128 + signal.SIGTERM


def test_kills_a_command_that_ignores_the_polite_request() -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    kept = keep("sh", "-c", script, program=("-c", IMPATIENT_KEEPER))
    assert kept.stderr is not None
    assert kept.stderr.readline() == b"deaf\n"

    wait_until_all_are_gone(kept)

    assert kept.returncode == 128 + signal.SIGKILL


def test_survives_no_opener_that_is_killed() -> None:
    command = (sys.executable, *KEEPER, "--", *SLEEP)
    opener = open_([sys.executable, "-c", OPENER, *command])
    reported_pid(opener)

    opener.kill()

    wait_until_all_are_gone(opener)


def test_the_last_keeper_removes_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    directory.mkdir()
    (directory / "file").touch()
    first, last = keep(*SLEEP, remove=directory), keep(*SLEEP, remove=directory)
    reported_pid(first)
    reported_pid(last)

    wait_until_all_are_gone(first)
    assert (directory / "file").exists()

    wait_until_all_are_gone(last)
    assert not directory.exists()


def test_says_so_when_the_command_cannot_be_started(tmp_path: Path) -> None:
    directory = tmp_path / "own"
    directory.mkdir()
    kept = keep("no-such-command", remove=directory)

    said = wait_until_all_are_gone(kept)

    assert kept.returncode == 127
    assert b"no-such-command" in said
    assert not directory.exists()
