"""`python -m broker` and the `broker` command."""

import os
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

from broker.version import __version__

INTERRUPTED = 130  # what shells report for Ctrl-C, when no service is there yet to stop gracefully


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    try:
        sys.exit(_run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        for stream in (sys.stdout, sys.stderr):
            _settle(stream)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        with suppress(OSError):  # nobody listens any more
            print(__version__)  # noqa: T201 - it is the command's output
        return 0
    if arguments in ([], ["run"]):
        # Where there are no options, as in a container, what parses them need not fill the memory.
        from broker.cli.run import run  # noqa: PLC0415 - slow, and the version does without it

        return run()
    from broker.cli.application import execute  # noqa: PLC0415 - likewise

    return execute(arguments)


def _settle(stream: TextIO | None) -> None:
    """Flush a standard stream, or let what nobody reads any more go to the null device.

    The interpreter flushes at exit, too, where a failure would change the exit code.
    """
    if stream is None or stream.closed:  # it is None when it was closed before the start
        return
    try:
        stream.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


if __name__ == "__main__":
    main()
