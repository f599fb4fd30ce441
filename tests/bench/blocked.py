"""What the broker keeps in memory while RabbitMQ takes nothing and the input queue is full."""

import time

import trio

from tests.bench.environment import BROKER, Environment
from tests.bench.names import OUTPUT_QUEUE
from tests.bench.queues import in_thread, wait_for
from tests.bench.results import Blocked, Run
from tests.bench.throughput import judge, load
from tests.lab.amqp_client import AmqpClient
from tests.lab.amqp_connection import AmqpConnection
from tests.lab.process_meter import resident_memory

_MESSAGES = 60_000
"""So many that most still wait once `rabbitmqctl`, which takes a second, has done its work."""
_INTERVAL = 0.1
_DEFAULT_WATERMARK = "0.4"


async def measure(env: Environment, seconds: float) -> Blocked:
    """Let RabbitMQ raise a memory alarm while the broker routes, and lift it again."""
    blocked = Blocked(_MESSAGES, seconds)
    run = Run(BROKER.name, _MESSAGES, size=300, prefetch=0)
    await in_thread(load, env, run)
    async with env.running(BROKER) as pid:
        await in_thread(_wait_for, env, _MESSAGES // 10)
        blocked.before_bytes = resident_memory(pid)
        await env.node.ctl("set_vm_memory_high_watermark", "0")
        alarm_ends_at = trio.current_time() + seconds
        while trio.current_time() < alarm_ends_at:
            blocked.peak_bytes = max(blocked.peak_bytes, resident_memory(pid))
            await trio.sleep(_INTERVAL)
        blocked.routed = await AmqpClient(env.node.url).ready(OUTPUT_QUEUE)
        await env.node.ctl("set_vm_memory_high_watermark", _DEFAULT_WATERMARK)
        lifted_at = time.monotonic()
        try:
            await in_thread(_wait_for, env, blocked.routed + 1)
            blocked.resumed_after = time.monotonic() - lifted_at
            await in_thread(_wait_for, env, _MESSAGES)
        except TimeoutError as error:
            blocked.problems.append(f"{blocked.routed} routed before the alarm, then {error}")
    blocked.problems += await in_thread(judge, env, run, BROKER.keeps_order)
    return blocked


def _wait_for(env: Environment, messages: int) -> None:
    with AmqpConnection(env.node.url) as connection:
        wait_for(connection, [OUTPUT_QUEUE], messages)
