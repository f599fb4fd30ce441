"""A steady load for a long time, with a reconnect now and then: nothing may grow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from tests.faults import task_counts
from tests.faults.checker import Allowed
from tests.faults.environment import Environment
from tests.faults.scenario import LINKING, RECOVERY, scenario
from tests.faults.trend import Sample, grown

_RATE = 150.0
_MIB = 2**20
_SHORT_SLACK = Sample(6 * _MIB, open_files=4, threads=2, trio_tasks=3, asyncio_tasks=3)
"""After some seconds the memory has not settled yet."""
_LONG_SLACK = Sample(3 * _MIB, open_files=2, threads=1, trio_tasks=2, asyncio_tasks=2)


@scenario(
    fault="steady load; every minute the connection to the server or to RabbitMQ is cut, in turn",
    promise="memory, file descriptors, threads and tasks stay flat",
)
async def soak(env: Environment) -> Allowed:
    reconnects, pause, interval = (14, 60.0, 5.0) if env.is_long else (4, 4.0, 0.5)
    await env.broker.start(task_counts.command())
    async with env.load(_RATE):
        await env.routing()
        async with _sampling(env, interval):
            for number in range(reconnects):
                await trio.sleep(pause)
                proxy = env.amqp if number % 2 else env.websocket
                proxy.cut()
                env.fault()
                await env.routing(within=RECOVERY, since=trio.current_time())
                await env.linked(within=LINKING)
            await trio.sleep(pause)
    problems = grown(env.figures.samples, _LONG_SLACK if env.is_long else _SHORT_SLACK)
    assert not problems, "; ".join(problems)
    cuts_of_amqp = reconnects // 2
    return Allowed(duplicates=cuts_of_amqp * env.prefetch)


@asynccontextmanager
async def _sampling(env: Environment, interval: float) -> AsyncIterator[None]:
    started = trio.current_time()
    file = env.broker.log.with_name(task_counts.FILE)

    async def sample() -> None:
        while True:
            with suppress(FileNotFoundError):  # nothing was counted yet
                seconds = round(trio.current_time() - started, 1)
                taken = Sample(*env.usage(), *task_counts.read(file), seconds=seconds)
                env.figures.samples.append(taken)
            await trio.sleep(interval)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample)
        yield
        nursery.cancel_scope.cancel()
