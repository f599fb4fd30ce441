"""One layout, once through preloaded queues."""

import time
from zlib import crc32

import trio

from broker.sandbox.broker_process import BrokerProcess
from tests.bench.chat import chat_messages, decode_routed, problems
from tests.bench.names import DEAD_LETTER_QUEUE
from tests.bench.process_usage import cpu_seconds, machine_cpu_seconds
from tests.bench.scale.erlang_work import processes_of, work_between
from tests.bench.scale.plan import base
from tests.bench.scale.results import Layout, ScaleRun
from tests.bench.scale.site import Site, input_queues, output_queues
from tests.bench.wire import Wire, in_thread

_SIZE = 300
_FIRST_DELIVERY_INTERVAL = 0.002
_PROGRESS_INTERVAL = 0.01
"""Seconds between two looks at the queues: little work for RabbitMQ, little error in a second."""
_STALLED_AFTER = 15.0
_LAST_ACKNOWLEDGEMENT = 0.3
"""Seconds from the last message in the output until the brokers are asked to end."""


async def measure(site: Site, layout: Layout, messages: int) -> ScaleRun:
    """Let a layout's brokers route messages that wait for them, and judge what comes out.

    Args:
        site: Where.
        layout: Which.
        messages: How many messages.
    """
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
        with site.wire(number) as wire:
            share = bodies[number :: len(queues)]
            wire.publish(queue, share)
            _wait_for(wire, (queue,), len(share))


def watch(site: Site, run: ScaleRun, brokers: list[BrokerProcess]) -> None:
    """Measure from the first delivery to the last message in the output queues.

    Raises:
        TimeoutError: Nothing happened for a quarter of a minute.
    """
    inputs, outputs = input_queues(run.layout), output_queues(run.layout)
    with site.wire() as wire:
        give_up_at = time.monotonic() + _STALLED_AFTER
        while _ready(wire, inputs) == run.messages:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"nothing was taken for {_STALLED_AFTER:g} s")
            time.sleep(_FIRST_DELIVERY_INTERVAL)
        started, machine_before = time.monotonic(), machine_cpu_seconds()
        brokers_before = [cpu_seconds(broker.pid) for broker in brokers]
        nodes_before = [cpu_seconds(pid) for pid in site.node_pids]
        _wait_for(wire, outputs, run.messages)
        run.seconds = time.monotonic() - started
        run.machine_cpu = machine_cpu_seconds() - machine_before
        run.broker_cpu = sum(cpu_seconds(broker.pid) for broker in brokers) - sum(brokers_before)
        run.node_cpu = [
            cpu_seconds(pid) - then for pid, then in zip(site.node_pids, nodes_before, strict=True)
        ]


def _wait_for(wire: Wire, queues: tuple[str, ...], messages: int) -> None:
    arrived = 0
    give_up_at = time.monotonic() + _STALLED_AFTER
    while arrived < messages:
        before, arrived = arrived, _ready(wire, queues)
        if arrived > before:
            give_up_at = time.monotonic() + _STALLED_AFTER
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{arrived} of {messages}, then nothing for {_STALLED_AFTER:g} s")
        time.sleep(_PROGRESS_INTERVAL)


def _ready(wire: Wire, queues: tuple[str, ...]) -> int:
    return sum(map(wire.ready, queues))


def _judge(site: Site, run: ScaleRun) -> list[str]:
    """Look at what came out; with the brokers gone, what they did not acknowledge is back."""
    with site.wire() as wire:
        left = _ready(wire, input_queues(run.layout))
        parked = wire.ready(DEAD_LETTER_QUEUE)
    bodies: list[bytes] = []
    astray = 0
    for number, queue in enumerate(output_queues(run.layout)):
        with site.wire(number) as wire:
            taken = wire.take(queue, wire.ready(queue))
        bodies += taken
        astray += sum(_shard(body, run.layout) != number for body in taken)
    in_order = run.layout.brokers == run.layout.shards == 1
    complaints = problems(bodies, run.messages, in_order=in_order)
    found = {"not acknowledged": left, "dead-lettered": parked, "in the wrong output queue": astray}
    return complaints + [f"{count} {what}" for what, count in found.items() if count]


def _shard(body: bytes, layout: Layout) -> int:
    return crc32(decode_routed(body).receiver_id.encode()) % layout.shards
