"""A broker that is started again when it was killed, as a service manager would do it."""

import signal
from collections.abc import Mapping
from pathlib import Path

import trio

from broker.sandbox.broker_process import STOP_TIMEOUT, BrokerProcess, open_broker


class RestartingBroker:
    """A broker in a process of its own, and the next one after each `kill`.

    Attributes:
        ended: Set when it has ended by itself, or was stopped.
        kills: How often it was killed.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.ended = trio.Event()
        self.kills = 0
        self.log = directory / "broker.log"
        self._directory = directory
        self._settings = settings
        self._process: BrokerProcess | None = None
        self._started = trio.Event()
        self._since = 0.0
        self._is_killed = False

    @property
    def pid(self) -> int | None:
        """Its process id; None while it is dead."""
        process = self._process
        return process.pid if process is not None and process.is_running else None

    @property
    def is_restarting(self) -> bool:
        """Whether it was killed, and is about to be started again."""
        return self._is_killed

    @property
    def uptime(self) -> float:
        """Seconds since it was started last."""
        return trio.current_time() - self._since

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run it until it ends by itself or is stopped. Started once its first process is.

        Raises:
            BrokerProcessError: It could not be started.
        """
        is_first = True
        while is_first or self._is_killed:
            async with open_broker(self._directory, self._settings) as process:
                self._process, self._since = process, trio.current_time()
                self._is_killed = False
                self._started.set()
                if is_first:
                    task_status.started()
                is_first = False
                await process.wait()
        self.ended.set()

    def kill(self) -> bool:
        """Kill it (SIGKILL), to be started again; return whether there was something to kill."""
        if self._is_killed or self._process is None or not self._process.is_running:
            return False
        self._is_killed = True
        self.kills += 1
        self._started = trio.Event()
        self._process.signal(signal.SIGKILL)
        return True

    async def started_again(self) -> None:
        """Wait until it has a process; after `kill`, the next one."""
        await self._started.wait()

    async def stop(self) -> list[str]:
        """Stop it gracefully, and return what is wrong with the way it ended."""
        if self._process is None or self._is_killed:
            return ["The broker was not started again."]
        return await stop_broker(self._process)


async def stop_broker(broker: BrokerProcess) -> list[str]:
    """Stop a broker, and return what is wrong with the way it ended."""
    if not broker.is_running:
        return [f"The broker ended by itself with exit status {await broker.wait()}."]
    status = await broker.stop()
    if status is None:
        return [f"The broker did not stop within {STOP_TIMEOUT:g} s."]
    return [f"The broker stopped with exit status {status}."] if status else []
