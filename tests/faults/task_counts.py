"""Runs the broker, and writes every second how many tasks its two event loops have.

    python -m tests.faults.task_counts FILE

The broker knows nothing of it: its main task is wrapped before it starts. When that is not there
any more, the start fails.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec
import trio

from broker import service
from broker.__main__ import main as run_broker
from broker.amqp import Rabbit, open_rabbit
from broker.core.routing.policy import Policy
from broker.settings import Settings

FILE = "tasks.json"
"""Where the broker runs."""
_INTERVAL = 1.0


class TaskCounts(NamedTuple):
    """How many tasks live: Trio's own included, and those of the asyncio event loop."""

    trio: int
    asyncio: int


type _Serve = Callable[..., Awaitable[bool]]


def command(file: str = FILE) -> Sequence[str]:
    # By its path: what lies in the directory where it runs is not to be imported.
    return (sys.executable, "-P", str(Path(__file__)), file)


def read(file: Path) -> TaskCounts:
    return msgspec.json.decode(file.read_bytes(), type=TaskCounts)


def counting(serve: _Serve, file: Path) -> _Serve:
    async def serve_and_count(
        settings: Settings, stop_requested: trio.Event, policy: str | Policy | None
    ) -> bool:
        async with open_rabbit() as rabbit, trio.open_nursery() as nursery:
            nursery.start_soon(_count, rabbit, file)
            graceful = await serve(
                settings, stop_requested, policy, open_rabbit=lambda: nullcontext(rabbit)
            )
            nursery.cancel_scope.cancel()
        return graceful

    return serve_and_count


async def _count(rabbit: Rabbit, file: Path) -> None:
    async def count_asyncio() -> int:
        return len(asyncio.all_tasks())

    while True:
        await trio.sleep(_INTERVAL)
        asyncio_tasks = await rabbit.run(count_asyncio)
        counts = TaskCounts(trio.lowlevel.current_statistics().tasks_living, asyncio_tasks)
        unfinished = file.with_suffix(".part")
        unfinished.write_bytes(msgspec.json.encode(counts))
        unfinished.replace(file)


def main(file: Path) -> NoReturn:
    service.serve = counting(service.serve, file)  # type: ignore[assignment]
    run_broker()


if __name__ == "__main__":
    file_ = sys.argv.pop(1)
    main(Path(file_))
