"""Sends messages at a steady rate and receives them again, in a process that does nothing else.

`python -m tests.bench.pace AMQP_URL` reads a `Latency` as JSON, fills it in, and writes it.
"""

import sys
import threading
import time
from statistics import quantiles

import msgspec

from tests.bench.chat import chat_message, decode_routed
from tests.bench.names import INPUT_QUEUE, OUTPUT_QUEUE
from tests.bench.results import Latency
from tests.lab.amqp_connection import AmqpConnection
from tests.lab.raw_content import Content

_SIZE = 300
_TICK = 0.001
"""Seconds between two looks at what is due."""
_WARM_UP = 0.2
"""Share of the messages that come first and do not count."""
_PATIENCE = 20.0


def drive(url: str, point: Latency) -> None:
    """Send from one thread, receive in this one; both read one monotonic clock."""
    with AmqpConnection(url) as sending, AmqpConnection(url) as receiving:
        sender = threading.Thread(target=_send, args=(sending, point), daemon=True)
        sender.start()
        seconds: dict[str, float] = {}
        number = 0
        try:
            receiving.set_timeout(_PATIENCE)
            for number, received in enumerate(receiving.consume(OUTPUT_QUEUE), start=1):
                now = time.monotonic_ns()
                message = decode_routed(received.body)
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


def _send(connection: AmqpConnection, point: Latency) -> None:
    started = time.monotonic()
    number = 0
    while number < point.messages:
        due = min(point.messages, int((time.monotonic() - started) * point.rate) + 1)
        if due > number:
            now = f"{time.monotonic_ns():020}"
            bodies = [chat_message(n, _SIZE, now) for n in range(number, due)]
            connection.publish(INPUT_QUEUE, map(Content, bodies))
            number = due
        time.sleep(_TICK)


def _summarise(point: Latency, milliseconds: list[float]) -> None:
    counted = sorted(milliseconds[int(len(milliseconds) * _WARM_UP) :])
    if len(counted) < 2:
        return
    per_mille = quantiles(counted, n=1000, method="inclusive")
    point.p50, point.p99, point.p999 = per_mille[499], per_mille[989], per_mille[998]
    point.worst = counted[-1]


def main() -> None:
    _, url = sys.argv
    point = msgspec.json.decode(sys.stdin.buffer.read(), type=Latency)
    drive(url, point)
    sys.stdout.buffer.write(msgspec.json.encode(point))


if __name__ == "__main__":
    main()
