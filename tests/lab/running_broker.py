"""A broker in a process of its own, which takes signals as any does."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from broker.sandbox.broker_process import BrokerProcess, broker_environment, open_broker
from tests.lab.forked import ForkedProcess

type RunningBroker = BrokerProcess | ForkedProcess


@asynccontextmanager
async def running_broker(
    directory: Path, settings: Mapping[str, str], command: Sequence[str] | None = None
) -> AsyncIterator[RunningBroker]:
    """Run a broker for the length of the block: by a command, or else a forked one."""
    if command is not None:
        async with open_broker(directory, settings, command) as broker:
            yield broker
        return
    forked = ForkedProcess(
        environment=broker_environment(settings), directory=directory, out=directory / "broker.log"
    )
    try:
        yield forked
    finally:
        forked.kill()
