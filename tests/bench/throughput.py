"""How many messages a second: one contender, once through a preloaded queue."""

import time

import trio

from tests.bench.chat import chat_messages, problems
from tests.bench.environment import OUR_PREFETCH, Contender, Environment
from tests.bench.names import DEAD_LETTER_QUEUE, INPUT_QUEUE, OUTPUT_QUEUE
from tests.bench.process_usage import cpu_seconds, peak_memory
from tests.bench.results import Run
from tests.bench.wire import Wire, in_thread

_FIRST_DELIVERY_INTERVAL = 0.002
_PROGRESS_INTERVAL = 0.01
"""Seconds between two looks at a queue: little work for RabbitMQ, little error in a second."""
_STALLED_AFTER = 15.0
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
    """Let a contender route messages that wait for it, and judge what comes out.

    Args:
        env: Where it runs.
        contender: Which.
        messages: How many messages.
        size: Bytes of each.
        prefetch: Of the broker and its AMQP half.
    """
    run = Run(contender.name, messages, size, prefetch)
    await in_thread(load, env, run)
    async with env.running(contender, prefetch=prefetch) as pid:
        try:
            await in_thread(_watch, env, run, pid)
        except (TimeoutError, FileNotFoundError) as error:
            run.problems = [f"did not get through: {error}; {env.last_words(contender)}"]
        await trio.sleep(_LAST_ACKNOWLEDGEMENT)
    run.problems = [
        *run.problems,
        *await in_thread(judge, env, run, contender.keeps_order),
    ]
    return run


def load(env: Environment, run: Run) -> None:
    """Make the queues anew, and fill the input queue."""
    with Wire(env.node.host, env.node.port) as wire:
        for queue in (INPUT_QUEUE, OUTPUT_QUEUE, DEAD_LETTER_QUEUE):
            wire.make_anew(queue)
        wire.publish(INPUT_QUEUE, chat_messages(run.messages, run.size))
        give_up_at = time.monotonic() + _STALLED_AFTER
        while wire.ready(INPUT_QUEUE) < run.messages:
            _check(give_up_at)
            time.sleep(_PROGRESS_INTERVAL)


def _watch(env: Environment, run: Run, pid: int) -> None:
    with Wire(env.node.host, env.node.port) as wire:
        give_up_at = time.monotonic() + _STALLED_AFTER
        while wire.ready(INPUT_QUEUE) == run.messages:
            _check(give_up_at)
            time.sleep(_FIRST_DELIVERY_INTERVAL)
        started, cpu_before = time.monotonic(), cpu_seconds(pid)
        wait_for(wire, run.messages)
        run.seconds = time.monotonic() - started
        run.cpu_seconds = cpu_seconds(pid) - cpu_before
        run.peak_bytes = peak_memory(pid)


def wait_for(wire: Wire, messages: int) -> None:
    """Wait until so many messages are in the output queue.

    Raises:
        TimeoutError: None came for some time.
    """
    arrived = 0
    give_up_at = time.monotonic() + _STALLED_AFTER
    while arrived < messages:
        before, arrived = arrived, wire.ready(OUTPUT_QUEUE)
        if arrived > before:
            give_up_at = time.monotonic() + _STALLED_AFTER
        _check(give_up_at)
        time.sleep(_PROGRESS_INTERVAL)


def _check(give_up_at: float) -> None:
    if time.monotonic() > give_up_at:
        raise TimeoutError(f"nothing for {_STALLED_AFTER:g} s")


def judge(env: Environment, run: Run, in_order: bool) -> list[str]:
    """Look at what came out; with the contender gone, what it did not acknowledge is back."""
    with Wire(env.node.host, env.node.port) as wire:
        left, parked = wire.ready(INPUT_QUEUE), wire.ready(DEAD_LETTER_QUEUE)
        bodies = wire.take(OUTPUT_QUEUE, wire.ready(OUTPUT_QUEUE))
    complaints = problems(bodies, run.messages, in_order=in_order)
    if left:
        complaints.append(f"{left} not acknowledged")
    if parked:
        complaints.append(f"{parked} dead-lettered")
    return complaints
