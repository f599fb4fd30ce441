"""The load: numbered chat messages into the input queue, with publisher confirms.

It goes to RabbitMQ directly, past the proxies, and shares no code with the broker.
"""

import time
from collections.abc import Iterable

import trio

from tests.faults import chat
from tests.faults.checker import Sent
from tests.lab.amqp_connection import AmqpConnection, connect
from tests.lab.eventually import eventually
from tests.lab.raw_content import Content

_BATCH_INTERVAL = 0.05
_RECONNECT_PAUSE = 0.2
_CONNECT_TIMEOUT = 10.0
_CONFIRM_TIMEOUT = 30.0
"""Seconds until the confirms of a batch are given up: they may still count as attempted."""


class Load:
    """Publishes until it is stopped, and reconnects for as long as it takes.

    What was under way when a connection was lost stays attempted and unconfirmed; the load goes on
    with the next number.

    Args:
        sent: Where to note what goes in; a load goes on where the one before ended.
        rate: Messages per second.
    """

    def __init__(self, urls: Iterable[str], queue: str, *, sent: Sent, rate: float) -> None:
        self.sent = sent
        self._urls = tuple(urls)
        self._queue = queue
        self._rate = rate
        self._batch = max(1, int(rate * _BATCH_INTERVAL))
        self._poison: list[bytes] = []
        self._stopped = False

    async def run(self) -> None:
        """Publish until `stop`; then wait for the confirms that are under way, for 30 s at most.

        It is never cancelled.
        """
        await trio.to_thread.run_sync(self._run)

    def stop(self) -> None:
        """Begin no further batch. Does not wait."""
        self._stopped = True

    def add_poison(self, *bodies: bytes) -> None:
        """Mix bodies that no broker can accept into the load, soon. All must be different."""
        self._poison += bodies

    async def confirmed(self, count: int) -> None:
        await eventually(
            lambda: len(self.sent.confirmed) >= count, f"{count} messages confirmed", within=120
        )

    def _run(self) -> None:
        while not self._stopped:
            try:
                with connect(*self._urls, timeout=_CONNECT_TIMEOUT) as connection:
                    connection.set_timeout(_CONFIRM_TIMEOUT)
                    connection.select_confirms()
                    self._publish(connection)
            except OSError:
                time.sleep(_RECONNECT_PAUSE)

    def _publish(self, connection: AmqpConnection) -> None:
        due = time.monotonic()
        while not self._stopped:
            numbers = range(self.sent.attempted, self.sent.attempted + self._batch)
            self.sent.attempted = numbers.stop
            poison, self._poison = self._poison, []
            self.sent.poison_attempted.update(poison)
            bodies = [*map(chat.body, numbers), *poison]
            published = connection.published + 1
            connection.publish(self._queue, map(Content, bodies))
            for number in connection.confirmed():
                index = number - published
                if index < len(numbers):
                    self.sent.confirmed.add(numbers[index])
                else:
                    self.sent.poison_confirmed.add(bodies[index])
            # After an outage the load goes on as before, without catching up.
            now = time.monotonic()
            due = max(due + self._batch / self._rate, now - _BATCH_INTERVAL)
            time.sleep(max(0, due - now))
