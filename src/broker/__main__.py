"""`python -m broker` and the `broker` command."""

import sys
from typing import NoReturn

from broker.cli.standard_streams import flush_standard_streams

INTERRUPTED = 130  # what shells report for Ctrl-C, when no service is there yet to stop gracefully


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        # It loads for 150 ms, in which Ctrl-C must not print a traceback.
        from broker.cli.application import execute  # noqa: PLC0415

        sys.exit(execute(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        flush_standard_streams()


if __name__ == "__main__":
    main()
