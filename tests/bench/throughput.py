"""How many messages a second: one contender, once through a preloaded queue."""

import time

import trio

from tests.bench.chat import chat_messages, problems
from tests.bench.environment import OUR_PREFETCH, Contender, Environment
from tests.bench.names import DEAD_LETTER_QUEUE, INPUT_QUEUE, OUTPUT_QUEUE, QUEUES
from tests.bench.queues import fill, in_thread, make_anew, wait_for, wait_for_the_first
from tests.bench.results import Run
from tests.lab.amqp_connection import AmqpConnection
from tests.lab.process_meter import cpu_seconds, peak_memory

_LAST_ACKNOWLEDGEMENT = 0.3
"""Seconds from the last message in the output until the contender is asked to end."""


async def measure(
    env: Environment,
    contender: Contender,
    *,
    messages: int,
    size: int = 300,
    prefetch: int = OUR_PREFETCH,
) -> Run:
    run = Run(contender.name, messages, size, prefetch)
    await in_thread(load, env, run)
    async with env.running(contender, prefetch=prefetch) as pid:
        try:
            await in_thread(_watch, env, run, pid)
        except (TimeoutError, FileNotFoundError) as error:
            run.problems = [f"did not get through: {error}; {env.last_words(contender)}"]
        await trio.sleep(_LAST_ACKNOWLEDGEMENT)
    run.problems += await in_thread(judge, env, run, contender.keeps_order)
    return run


def load(env: Environment, run: Run) -> None:
    with AmqpConnection(env.node.url) as connection:
        make_anew(connection, *QUEUES)
        fill(connection, INPUT_QUEUE, list(chat_messages(run.messages, run.size)))


def _watch(env: Environment, run: Run, pid: int) -> None:
    with AmqpConnection(env.node.url) as connection:
        wait_for_the_first(connection, [INPUT_QUEUE], run.messages)
        started, cpu_before = time.monotonic(), cpu_seconds(pid)
        wait_for(connection, [OUTPUT_QUEUE], run.messages)
        run.seconds = time.monotonic() - started
        run.cpu_seconds = cpu_seconds(pid) - cpu_before
        run.peak_bytes = peak_memory(pid)


def judge(env: Environment, run: Run, in_order: bool) -> list[str]:
    """Look at what came out; with the contender gone, what it did not acknowledge is back."""
    with AmqpConnection(env.node.url) as connection:
        left, dead = connection.ready(INPUT_QUEUE), connection.ready(DEAD_LETTER_QUEUE)
        bodies = [message.body for message in connection.take_all(OUTPUT_QUEUE)]
    found = {"not acknowledged": left, "dead-lettered": dead}
    return problems(bodies, run.messages, in_order=in_order, found=found)
