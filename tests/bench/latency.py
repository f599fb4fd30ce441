"""How long a message takes from its publish into the input queue to its arrival in the output."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import trio

from tests.bench.environment import ROOT, Contender, Environment
from tests.bench.names import QUEUES
from tests.bench.queues import make_anew
from tests.bench.results import Latency
from tests.lab.amqp_connection import AmqpConnection

type Drive = Callable[[str, float, float], Awaitable[Latency]]
"""Takes what to call the load, messages per second, and seconds."""


@asynccontextmanager
async def driven(env: Environment, contender: Contender) -> AsyncIterator[Drive]:
    async def drive(load: str, rate: float, seconds: float) -> Latency:
        point = Latency(contender.name, load, rate, int(rate * seconds))
        # In a process of its own: the stand-in server in this one would hold up the clock.
        completed = await trio.run_process(
            [sys.executable, "-m", "tests.bench.pace", env.node.url],
            stdin=msgspec.json.encode(point),
            capture_stdout=True,
            cwd=ROOT,
        )
        return msgspec.json.decode(completed.stdout, type=Latency)

    with AmqpConnection(env.node.url) as connection:
        make_anew(connection, *QUEUES)
    async with env.running(contender):
        # The first message shows that the contender is there.
        await drive("start", 10, 0.1)
        yield drive
