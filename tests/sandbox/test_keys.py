"""A terminal that gives single keys, and gets back what it had."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest
import trio

from broker.concurrency.wakeup import Wakeup
from broker.sandbox.keys import keyboard, read_keys, single_keys
from tests.sandbox.processes import PATIENCE

SUSPENDED = """
import os, sys, trio
from broker.sandbox.keys import single_keys, watch_suspensions
from contextlib import ExitStack
stack = ExitStack()
def take():
    stack.enter_context(single_keys(0))
    print("taken", flush=True)
async def main():
    async with trio.open_nursery() as nursery:
        take()
        await nursery.start(watch_suspensions, stack.close, take)
        print("ready", flush=True)
trio.run(main)
"""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal: the person's, and the program's."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def is_cooked(descriptor: int) -> bool:
    flags = termios.tcgetattr(descriptor)[3]
    return bool(flags & termios.ICANON and flags & termios.ECHO)


async def test_keys_come_one_by_one_without_enter(terminal: tuple[int, int]) -> None:
    person, program = terminal
    pressed: list[str] = []
    arrived = Wakeup()

    def press(key: str) -> None:
        pressed.append(key)
        arrived.set()

    with single_keys(program), trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_keys, program, press)
            for written in (b"P", b"k", b"\x1b[A", b"q"):
                os.write(person, written)
                if written.isalpha():
                    await arrived.wait()
                else:  # an arrow, whose letter is not meant
                    while select.select([program], [], [], 0)[0]:
                        await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert pressed == ["p", "k", "q"]
    assert is_cooked(program)


async def test_the_keyboard_may_go() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    pressed: list[str] = []
    await read_keys(reader, pressed.append)
    os.close(reader)
    assert pressed == []


def test_the_terminal_is_restored_after_a_failure(terminal: tuple[int, int]) -> None:
    _, program = terminal
    before = termios.tcgetattr(program)
    with pytest.raises(ZeroDivisionError), single_keys(program):
        assert 1 / is_cooked(program)
    assert termios.tcgetattr(program) == before


def test_no_keyboard_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as null:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdin", null)
        assert keyboard() is None
    monkeypatch.setattr(sys, "stdin", None)
    assert keyboard() is None


def test_ctrl_z_gives_the_terminal_back_for_as_long_as_the_program_is_stopped(
    terminal: tuple[int, int],
) -> None:
    _, program = terminal
    with subprocess.Popen(
        [sys.executable, "-c", SUSPENDED],
        stdin=program,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["taken\n", "ready\n"]
        assert not is_cooked(program)
        process.send_signal(signal.SIGTSTP)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert is_cooked(program)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "taken\n"
        assert not is_cooked(program)
        process.kill()
