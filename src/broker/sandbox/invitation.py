"""The command that people paste into another terminal to send a message themselves."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from broker.sandbox.rabbitmq import RabbitmqNode


def invitation(node: RabbitmqNode) -> str:
    """Return a command for a shell in this directory that sends a message through a node."""
    return f'AMQP_URL=amqp://{node.host}:{node.port} {_program()} send "hello"'


def _program() -> str:
    """Return how a shell in this directory runs the `broker` of this installation."""
    script = Path(sys.executable).parent / "broker"
    found = shutil.which("broker")
    if found is not None and Path(found) == script:
        return "broker"
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m broker"
    return shlex.quote(min(os.path.relpath(script), str(script), key=len))
