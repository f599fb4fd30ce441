"""How long a message takes from its publish into the input queue to its arrival in the output."""

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import quantiles

from bench.chat import chat_message, decode_routed
from bench.field import Contender, Field
from bench.results import Latency
from bench.setting import DEAD_LETTER_QUEUE, INPUT_QUEUE, OUTPUT_QUEUE
from bench.wire import Wire, in_thread

type Drive = Callable[[str, float, float], Awaitable[Latency]]
"""Takes what to call the load, messages per second, and seconds."""

_SIZE = 300
_TICK = 0.001
"""Seconds between two looks at what is due."""
_WARM_UP = 0.2
"""Share of the messages that come first and do not count."""
_PATIENCE = 20.0


async def measure(
    field: Field, contender: Contender, loads: dict[str, float], seconds: float
) -> list[Latency]:
    """Send messages at steady rates, one rate after the other.

    Args:
        field: Where the contender runs.
        contender: Which.
        loads: Messages per second, by what to call them.
        seconds: How long each rate is held.
    """
    async with driven(field, contender) as drive:
        return [await drive(load, rate, seconds) for load, rate in loads.items()]


@asynccontextmanager
async def driven(field: Field, contender: Contender) -> AsyncIterator[Drive]:
    """Run a contender, and yield what sends messages through it at a steady rate."""

    async def drive(load: str, rate: float, seconds: float) -> Latency:
        point = Latency(contender.name, load, rate, int(rate * seconds))
        await in_thread(_drive, field, point)
        return point

    with Wire(field.node.host, field.node.port) as wire:
        for queue in (INPUT_QUEUE, OUTPUT_QUEUE, DEAD_LETTER_QUEUE):
            wire.make_anew(queue)
    async with field.running(contender):
        # The first message shows that the contender is there.
        await drive("start", 10, 0.1)
        yield drive


def _drive(field: Field, point: Latency) -> None:
    """Send from one thread, receive in this one; both read one monotonic clock."""
    host, port = field.node.host, field.node.port
    with Wire(host, port) as sending, Wire(host, port) as receiving:
        sender = threading.Thread(target=_send, args=(sending, point), daemon=True)
        sender.start()
        seconds: dict[str, float] = {}
        number = 0
        try:
            receiving.set_timeout(_PATIENCE)
            for number, body in enumerate(receiving.consume(OUTPUT_QUEUE), start=1):
                now = time.monotonic_ns()
                message = decode_routed(body)
                sent_at = int(message.text_payload.partition("x")[0])
                seconds[message.message_id] = (now - sent_at) / 1e6
                if number == point.messages:
                    break
        except TimeoutError:
            pass
        sender.join()
    missing = point.messages - len(seconds)
    if missing:
        point.problems = [f"{missing} lost, {number - len(seconds)} doubled"]
    _summarise(point, list(seconds.values()))


def _send(wire: Wire, point: Latency) -> None:
    started = time.monotonic()
    number = 0
    while number < point.messages:
        due = min(point.messages, int((time.monotonic() - started) * point.rate) + 1)
        if due > number:
            now = f"{time.monotonic_ns():020}"
            wire.publish(INPUT_QUEUE, [chat_message(n, _SIZE, now) for n in range(number, due)])
            number = due
        time.sleep(_TICK)


def _summarise(point: Latency, milliseconds: list[float]) -> None:
    counted = sorted(milliseconds[int(len(milliseconds) * _WARM_UP) :])
    if len(counted) < 2:  # noqa: PLR2004 - quantiles need two
        return
    per_mille = quantiles(counted, n=1000, method="inclusive")
    point.p50, point.p99, point.p999 = per_mille[499], per_mille[989], per_mille[998]
    point.worst = counted[-1]
