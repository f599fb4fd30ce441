"""A pseudo-terminal with a program on it, and a person who reads and types."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.sandbox.processes import PATIENCE

BECOME_OWNER = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR))\n"
"""Makes the terminal that of a program which leads a session, so that Ctrl-C reaches it."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_HOME = "\x1b[H"
_RESTORED = "\x1b[?1049l"


class Terminal:
    """Made by `open_terminal`.

    Attributes:
        process: The program.
    """

    def __init__(self, person: int, program: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._person = person
        self._program = program
        self._written = b""
        self._seen = 0
        self._before = termios.tcgetattr(program)

    def is_restored(self) -> bool:
        """Return whether it gives lines and echoes, as it did before."""
        return termios.tcgetattr(self._program) == self._before

    def type(self, keys: bytes) -> None:
        """Press some keys; what was on the screen before is not seen any more by `until`."""
        self._seen = len(self._written)
        os.write(self._person, keys)

    def until(self, *texts: str) -> None:
        """Wait until one of some texts is on the screen.

        Messages and events may have left it before the next picture; what a line says of the state
        of a part stays.
        """
        self.until_matched("|".join(map(re.escape, texts)))

    def until_matched(self, pattern: str) -> None:
        """Wait until a text that matches is on the screen."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self._shown()):
            assert time.monotonic() < deadline, (pattern, self._shown()[-3000:])
            assert self._read() or self.process.poll() is None, (pattern, self._shown())

    def until_taken(self) -> None:
        """Wait until the program reads single keys, as it does not while it is stopped."""
        deadline = time.monotonic() + PATIENCE
        while self.is_restored():
            assert time.monotonic() < deadline
            self._read()

    def picture(self) -> list[str]:
        """Return the lines of the next whole picture."""
        self._seen = len(self._written)
        deadline = time.monotonic() + PATIENCE
        while self._text(self._seen).count(_HOME) < 3:
            assert time.monotonic() < deadline
            self._read()
        whole = self._text(self._seen).split(_HOME)[-2]
        return _CONTROL.sub("", whole).replace("\r", "").splitlines()

    def end(self) -> str:
        """Wait until the program has ended, and return what it wrote after the pictures.

        Colours are left out.
        """
        deadline = time.monotonic() + PATIENCE
        while self._read() or self.process.poll() is None:
            assert time.monotonic() < deadline
        return _CONTROL.sub("", self._text().rpartition(_RESTORED)[2]).replace("\r", "")

    def _shown(self) -> str:
        return _CONTROL.sub("", self._text(self._seen))

    def _text(self, since: int = 0) -> str:
        return self._written[since:].decode(errors="replace")

    def _read(self) -> bool:
        """Read what comes in a moment, and return whether there was anything."""
        if not select.select([self._person], [], [], 0.05)[0]:
            return False
        try:
            part = os.read(self._person, 65_536)
        except OSError:  # how Linux reports that the other end was closed
            return False
        self._written += part
        return bool(part)


@contextmanager
def open_terminal(
    *arguments: str, columns: int, lines: int, environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """Run Python on a terminal of a size; at the end it is killed if it still runs."""
    person, program = pty.openpty()
    try:
        fcntl.ioctl(person, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with subprocess.Popen(
            [sys.executable, *arguments],
            env={**environment, "COLUMNS": str(columns), "LINES": str(lines)},
            stdin=program,
            stdout=program,
            stderr=program,
            start_new_session=True,
        ) as process:
            try:
                yield Terminal(person, program, process)
            finally:
                process.kill()
    finally:
        os.close(person)
        os.close(program)
