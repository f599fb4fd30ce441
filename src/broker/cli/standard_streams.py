"""The end of standard output and standard error."""

import os
import sys


def flush_standard_streams() -> None:
    """Flush both, and discard what nobody reads any more.

    The interpreter flushes at exit, too, where a failure would change the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:  # it is None when it was closed before the start
            continue
        try:
            stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
