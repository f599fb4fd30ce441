"""Keeps one command running for as long as its opener lives, and not a moment longer.

    python -m broker.sandbox.keeper [--remove DIRECTORY] -- COMMAND...

The keeper starts the command in a process group of its own, writes the command's process id on
stdout as one line, and ends the whole group when its own stdin reaches end of file (the opener
closed it, or died, even by SIGKILL) or on SIGTERM, SIGINT or SIGHUP: SIGTERM first, SIGKILL when
that was not enough. When the command ends by itself, the keeper exits with its exit status
(128 + n after signal n).

Several keepers may share a directory with ``--remove``; the last one to end removes it, unless
somebody else still shares it. Whoever opens a keeper gives it a session of its own, so that Ctrl-C
in a terminal reaches the opener only.

It imports little but the standard library, so that it starts fast and stays small.
"""

import argparse
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

from broker.sandbox.dispositions import use_default_dispositions_in_children

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_ATTEMPTS = 10
_ATTEMPT_INTERVAL = 0.02
"""Seconds between attempts to be the last to hold a directory."""

_REQUESTS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(arguments: list[str]) -> int:
    """Run the command to its end, or to the keeper's, and return its status as a shell would."""
    parser = argparse.ArgumentParser(prog="keeper", description="Keep a command while stdin lives.")
    parser.add_argument("--remove", metavar="DIRECTORY", help="remove it when the last keeper ends")
    parser.add_argument("command", nargs="+", help="what to run, after --")
    options = parser.parse_args(arguments)

    shared = None if options.remove is None else share(options.remove)
    try:
        return _run(options.command)
    finally:
        if shared is not None:
            _remove_if_last(options.remove, shared)


def share(directory: str) -> int:
    """Hold a directory, so that no keeper removes it, until the returned descriptor is closed."""
    shared = os.open(directory, os.O_RDONLY)
    fcntl.flock(shared, fcntl.LOCK_SH)
    return shared


def _run(command: list[str]) -> int:
    wakeup = _wakeup_pipe()
    try:
        child = subprocess.Popen(  # noqa: S603 - running what it is given is its purpose
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
        )
    except OSError as error:
        print(f"keeper: {error}", file=sys.stderr)  # noqa: T201 - the opener reads it
        return 127
    try:
        _report(child.pid)
        _wait_for_end(child, wakeup)
    finally:
        _end_group(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _remove_if_last(directory: str, shared: int) -> None:
    # Taking the exclusive lock gives up the shared one, even in vain. So of several keepers that
    # end at once, whichever tries last succeeds. An opener that is killed closes its files one
    # after the other: the lock, perhaps, after the pipe whose end a keeper has seen.
    for _ in range(_ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
            return
        time.sleep(_ATTEMPT_INTERVAL)


def _wakeup_pipe() -> int:
    """Make every signal that matters readable as a byte with its number."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (*_REQUESTS, signal.SIGCHLD):
        # A handler, unlike SIG_IGN or a blocked mask, is not inherited by the command.
        signal.signal(number, lambda *_: None)
    use_default_dispositions_in_children()
    return readable


def _report(process_id: int) -> None:
    # An opener that died already is noticed as end of file on stdin.
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), b"%d\n" % process_id)


def _wait_for_end(child: subprocess.Popen[bytes], wakeup: int) -> None:
    stdin = sys.stdin.fileno()
    while child.poll() is None:
        readable, _, _ = select.select([stdin, wakeup], [], [])
        if stdin in readable and not os.read(stdin, 4096):
            return
        if wakeup in readable and not set(_REQUESTS).isdisjoint(os.read(wakeup, 4096)):
            return


def _end_group(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        _signal_group(child, signal.SIGTERM)
        _signal_group(child, signal.SIGCONT)  # a stopped process sees SIGTERM only once continued
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
    # Also when the command itself is gone: its children are not to stay.
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS answers EPERM for a group of which only a zombie is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
