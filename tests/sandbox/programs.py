"""Parts of the sandbox as processes of their own, and what they log."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from broker.sandbox.broker_process import COMMAND, BrokerProcess, open_broker
from broker.sandbox.free_ports import free_ports
from tests.lab.measured import measured
from tests.sandbox.processes import PATIENCE


class Program:
    """A running process."""

    def __init__(self, process: BrokerProcess) -> None:
        self.process = process

    async def logged(self, event: str, times: int = 1, **fields: object) -> dict[str, Any]:
        """Wait until it has logged an event, with these among its fields, so many times."""
        with trio.fail_after(PATIENCE):
            while len(found := self.found(event, **fields)) < times:
                await trio.sleep(0.02)
        return found[times - 1]

    def found(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return what it has logged so far."""
        wanted = {"event": event, **fields}.items()
        return [line for line in self._lines() if wanted <= line.items()]

    async def stop(self) -> int | None:
        return await self.process.stop()

    def _lines(self) -> Sequence[dict[str, Any]]:
        lines = self.process.log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


class Programs:
    """Starts programs in directories of their own. Made by `open_programs`."""

    def __init__(self, directory: Path, settings: dict[str, str], stack: AsyncExitStack) -> None:
        self.settings = settings
        self._directory = directory
        self._stack = stack

    async def start(self, *arguments: str, **settings: str) -> Program:
        """Start a command of the broker with the common settings and some of its own."""
        directory = self._directory / f"broker{''.join(arguments)}"
        directory.mkdir()
        opening = open_broker(directory, {**self.settings, **settings}, (*COMMAND, *arguments))
        with measured():  # with its keeper: nobody else runs them
            return Program(await self._stack.enter_async_context(opening))


@asynccontextmanager
async def open_programs(directory: Path, settings: dict[str, str]) -> AsyncIterator[Programs]:
    """End all programs at the end, whatever happened to them."""
    async with AsyncExitStack() as stack:
        yield Programs(directory, settings, stack)


def free_port() -> int:
    [port] = free_ports(1)
    return port
