"""One layout, once through preloaded queues."""

import time
from zlib import crc32

import trio

from broker.sandbox.broker_process import BrokerProcess
from tests.bench.chat import chat_messages, decode_routed, problems
from tests.bench.names import DEAD_LETTER_QUEUE
from tests.bench.queues import fill, in_thread, ready, wait_for, wait_for_the_first
from tests.bench.scale.erlang_work import processes_of, work_between
from tests.bench.scale.plan import base
from tests.bench.scale.results import Layout, ScaleRun
from tests.bench.scale.site import Site, input_queues, output_queues
from tests.lab.process_meter import cpu_seconds

_SIZE = 300
_LAST_ACKNOWLEDGEMENT = 0.3
"""Seconds from the last message in the output until the brokers are asked to end."""


async def measure(site: Site, layout: Layout, messages: int) -> ScaleRun:
    """Let a layout's brokers route messages that wait for them, and judge what comes out."""
    run = ScaleRun(layout, messages)
    await in_thread(load, site, run)
    is_looked_into = layout == base(layout.nodes, layout.queue_type)
    before = [await processes_of(node) for node in site.nodes] if is_looked_into else []
    try:
        async with site.brokers(layout) as brokers:
            site.server.send(site.server.full_update())
            await in_thread(watch, site, run, brokers)
            run.work = [
                work_between(then, await processes_of(node), _queues(layout))
                for then, node in zip(before, site.nodes, strict=is_looked_into)
            ]
            await trio.sleep(_LAST_ACKNOWLEDGEMENT)
    except (TimeoutError, FileNotFoundError) as error:
        run.problems.append(f"did not get through: {error}")
    run.problems += await in_thread(_judge, site, run)
    return run


def _queues(layout: Layout) -> tuple[str, ...]:
    return input_queues(layout) + output_queues(layout)


def load(site: Site, run: ScaleRun) -> None:
    """Make a layout's queues and fill the input queues."""
    site.make_queues(run.layout)
    queues = input_queues(run.layout)
    bodies = list(chat_messages(run.messages, _SIZE))
    for number, queue in enumerate(queues):
        with site.connect(number) as connection:
            fill(connection, queue, bodies[number :: len(queues)])


def watch(site: Site, run: ScaleRun, brokers: list[BrokerProcess]) -> None:
    """Measure from the first delivery to the last message in the output queues.

    Raises:
        TimeoutError: Nothing happened for a quarter of a minute.
    """
    with site.connect() as connection:
        wait_for_the_first(connection, input_queues(run.layout), run.messages)
        started = time.monotonic()
        brokers_before = [cpu_seconds(broker.pid) for broker in brokers]
        nodes_before = [cpu_seconds(pid) for pid in site.node_pids]
        wait_for(connection, output_queues(run.layout), run.messages)
        run.seconds = time.monotonic() - started
        run.broker_cpu = sum(cpu_seconds(broker.pid) for broker in brokers) - sum(brokers_before)
        run.node_cpu = [
            cpu_seconds(pid) - then for pid, then in zip(site.node_pids, nodes_before, strict=True)
        ]


def _judge(site: Site, run: ScaleRun) -> list[str]:
    """Look at what came out; with the brokers gone, what they did not acknowledge is back."""
    bodies: list[bytes] = []
    astray = 0
    with site.connect() as connection:
        left = ready(connection, input_queues(run.layout))
        dead = connection.ready(DEAD_LETTER_QUEUE)
    for number, queue in enumerate(output_queues(run.layout)):
        with site.connect(number) as connection:
            taken = [message.body for message in connection.take_all(queue)]
        bodies += taken
        astray += sum(_shard(body, run.layout) != number for body in taken)
    return problems(
        bodies,
        run.messages,
        in_order=run.layout.brokers == run.layout.shards == 1,
        found={
            "not acknowledged": left,
            "dead-lettered": dead,
            "in the wrong output queue": astray,
        },
    )


def _shard(body: bytes, layout: Layout) -> int:
    return crc32(decode_routed(body).receiver_id.encode()) % layout.shards
