"""One broker that is killed, stopped, frozen and started again, with the same settings."""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from broker.sandbox.broker_process import COMMAND, BrokerProcess, open_broker
from chaos.failure import ScenarioFailedError

_END_TIMEOUT = 30.0
"""Seconds until a broker that was told to end must have ended."""
KILLED = 128 + signal.SIGKILL


class BrokerControl:
    """The broker of one scenario: life after life, one log.

    Attributes:
        log: The log of all lives.

    Args:
        directory: Where it runs and has its log.
        settings: Its settings, by variable.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.log = directory / "broker.log"
        self._directory = directory
        self._settings = settings
        self._lives = AsyncExitStack()
        self._process: BrokerProcess | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a broker that has not ended."""
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The process id of the broker, which must have been started."""
        return self._started.pid

    async def start(self, command: Sequence[str] = COMMAND, **settings: str) -> None:
        """Start a broker. Returns before it routes.

        Args:
            command: What to run in place of the broker's command.
            settings: Settings for this life, in place of the usual ones.

        Raises:
            BrokerProcessError: It could not be started.
        """
        if self.is_running:
            raise RuntimeError("there is a broker already")
        await self._lives.aclose()
        self._process = await self._lives.enter_async_context(
            open_broker(self._directory, {**self._settings, **settings}, command)
        )

    async def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        code = await self.ended()
        if code != KILLED:
            raise ScenarioFailedError(f"the broker had ended by itself, with exit code {code}")

    async def terminate(self) -> int:
        """Ask it to stop (SIGTERM), and return its exit code."""
        self._signal(signal.SIGTERM)
        return await self.ended()

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    async def ended(self, within: float = _END_TIMEOUT) -> int:
        """Wait until it has ended, and return its exit code.

        Args:
            within: Seconds.

        Raises:
            ScenarioFailedError: It is still there.
        """
        with trio.move_on_after(within):
            return await self._started.wait()
        raise ScenarioFailedError(f"the broker has not ended within {within:g} s")

    async def close(self) -> None:
        """End it by force if need be."""
        if self.is_running:
            self.resume()  # or it could not see that it is to end
        await self._lives.aclose()

    def _signal(self, number: signal.Signals) -> None:
        if not self.is_running:
            raise ScenarioFailedError("the broker has ended by itself")
        os.kill(self._started.pid, number)

    @property
    def _started(self) -> BrokerProcess:
        if self._process is None:
            raise RuntimeError("the broker has not been started")
        return self._process
