"""The broker as people run it: `python -m broker` in a process of its own.

It runs under a keeper (see `broker.sandbox.keeper`), so that it ends with this process, however
that ends, and Ctrl-C in a terminal reaches this process only.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from broker.sandbox.kept_process import CLOSE_TIMEOUT, KeptProcess, start_kept
from broker.settings.options import options

STOP_TIMEOUT = 15.0
"""Seconds that a graceful stop may take."""
# -P: what lies in the directory where it runs is not to be imported.
COMMAND = (sys.executable, "-P", "-m", "broker")
"""How the broker is run."""
_SHUTDOWN_TIMEOUT = 10


class BrokerProcessError(Exception):
    """The broker could not be started."""


class BrokerProcess(KeptProcess):
    """A running broker. Made by `open_broker`."""

    async def stop(self, within: float = STOP_TIMEOUT) -> int | None:
        """Send SIGTERM, and return the exit status; None if it still runs after so many seconds."""
        if self.is_running:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
        with trio.move_on_after(within):
            return await self.wait()
        return None


@asynccontextmanager
async def open_broker(
    directory: Path, settings: Mapping[str, str], command: Sequence[str] = COMMAND
) -> AsyncIterator[BrokerProcess]:
    """Run a broker for the length of the context.

    At the end of the context it is ended by force if need be, within `CLOSE_TIMEOUT`.

    It runs in the directory, where its log is written, and gets no other settings.

    Raises:
        BrokerProcessError: It could not be started.
    """
    broker = await start_kept(
        command,
        BrokerProcess,
        directory=directory,  # without an `.env`
        environment=broker_environment(settings),
        log=directory / "broker.log",
    )
    if broker is None:
        raise BrokerProcessError("the broker could not be started")
    try:
        yield broker
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await broker.end()


def broker_environment(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment of a broker that gets these settings and no others."""
    known = {option.variable for option in options()}
    inherited = {
        variable: value for variable, value in os.environ.items() if variable.upper() not in known
    }
    return {
        **inherited,
        "BROKER_LOG_FORMAT": "json",
        "BROKER_SHUTDOWN_TIMEOUT": str(_SHUTDOWN_TIMEOUT),
        "BROKER_HTTP_PORT": "off",  # there may be several on one machine
        **settings,
    }
