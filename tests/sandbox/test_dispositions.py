import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.sandbox import keeper
from tests.sandbox.processes import PATIENCE

UNWANTED = [
    int(number)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1)
]

STARTER = f"""
import os, signal, sys
numbers = {UNWANTED}
if sys.argv[1] == "ignored":
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
else:
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""Becomes a Python that was started with signals ignored or blocked."""

CHILD = """
import signal
unwanted = {
    number.name
    for number in signal.Signals
    if signal.getsignal(number) is signal.SIG_IGN
} - {"SIGPIPE", "SIGXFSZ"}  # which Python itself ignores
print(sorted(unwanted), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())), flush=True)
"""

PARENT = f"""
import signal, subprocess, sys
from broker.sandbox.dispositions import use_default_dispositions_in_children
use_default_dispositions_in_children()
for number in {UNWANTED}:
    signal.raise_signal(number)
print("alive", flush=True)
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


def run(how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", STARTER, how, *arguments],
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_only_this_process_keeps_ignoring(how: str) -> None:
    completed = run(how, "-c", PARENT, CHILD)
    assert (completed.stdout, completed.stderr) == ("alive\n[] []\n", "")


@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_what_is_kept_has_default_dispositions(how: str, tmp_path: Path) -> None:
    found = tmp_path / "found"
    script = '"$0" -c "$1" >"$2"'
    # The keeper ends the command when its stdin ends; this one lasts until the command has ended.
    program = [sys.executable, "-c", STARTER, how, "-m", keeper.__name__, "--"]
    with subprocess.Popen(
        [*program, "sh", "-c", script, sys.executable, CHILD, str(found)], stdin=subprocess.PIPE
    ) as kept:
        assert kept.wait(PATIENCE) == 0
    assert found.read_text() == "[] []\n"


def test_children_of_tests_have_default_dispositions() -> None:
    assert subprocess.check_output([sys.executable, "-c", CHILD], text=True) == "[] []\n"


def test_the_suite_may_be_started_with_signals_ignored() -> None:
    test = f"{__file__}::{test_children_of_tests_have_default_dispositions.__name__}"
    completed = run("ignored", "-m", "pytest", "-p", "no:cacheprovider", test)
    assert "1 passed" in completed.stdout, completed.stdout
