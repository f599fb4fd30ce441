"""Run a command on a machine without IPv6: its system refuses sockets of that family.

As a kernel does that was started with `ipv6.disable=1`, here by a filter of system calls (seccomp)
that the command and all its children keep.

    python -m tests.lab.without_ipv6 COMMAND [ARGUMENT...]
"""

import ctypes
import errno
import os
import platform
import socket
import sys
from struct import Struct

SOCKET_CALLS = {"x86_64": 41, "aarch64": 198}
"""The number of socket(2) by machine; elsewhere this cannot be used."""
MACHINE = platform.machine()
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_NUMBER, _FIRST_ARGUMENT = 0, 16  # where they are in what a filter is given
_INSTRUCTION = Struct("HBBI")


def refuse_ipv6() -> None:
    """Let the system refuse sockets of IPv6 to this process from now on."""
    program = b"".join(
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD, 0, 0, _NUMBER),
            (_JUMP_IF_EQUAL, 0, 3, SOCKET_CALLS[MACHINE]),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
            (_RETURN, 0, 0, _FAIL | errno.EAFNOSUPPORT),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    libc = ctypes.CDLL(None, use_errno=True)
    instructions = ctypes.create_string_buffer(program)
    described = Struct("HP").pack(len(program) // _INSTRUCTION.size, ctypes.addressof(instructions))
    for arguments in (
        (_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SET_SECCOMP, _FILTER_MODE, described, 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "the system takes no filter of system calls")


if __name__ == "__main__":
    refuse_ipv6()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what it is for
