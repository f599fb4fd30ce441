"""Networks of their own for processes, with the addresses and the rules that a test wants."""

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import trio


def can_make_networks() -> bool:
    made = subprocess.run(
        ("unshare", "--net", "ip", "link", "set", "lo", "up"),  # noqa: S607 - wherever they are
        capture_output=True,
        check=False,
    )
    return made.returncode == 0


def in_network(command: Sequence[str], *preparations: str) -> tuple[str, ...]:
    """Return a command that prepares a network of its own in a shell, and becomes the one given.

    Its loopback interface is up, as in a container.
    """
    script = " && ".join(("ip link set lo up", *preparations, 'exec "$@"'))
    return ("unshare", "--net", "sh", "-c", script, "sh", *command)


async def from_within[T](pid: int, call: Callable[[], T]) -> T:
    """Call a function in a thread that is in the network of a process."""

    def enter_and_call() -> T:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            os.setns(namespace, os.CLONE_NEWNET)
        finally:
            os.close(namespace)
        return call()

    def call_and_leave() -> T:
        # A thread cannot be trusted to come back, so it ends.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_call).result()

    return await trio.to_thread.run_sync(call_and_leave)
