"""The receiving end of a consumer under test."""

from collections.abc import Callable, Sequence

import trio

from broker.amqp import Deliveries, Delivery, Publishing, Settlement

APP_ID = "broker_test"


class Inbox:
    """Keeps what arrives.

    Args:
        settlement: What comes of each delivery at once; None leaves them to the test.
    """

    def __init__(self, settlement: Callable[[Delivery], Settlement] | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.publish: Callable[[Sequence[Settlement]], None] = lambda _: None
        self._settlement = settlement
        self._arrived = trio.Event()

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    def take(self, arrived: Deliveries) -> None:
        self.deliveries += arrived.deliveries
        self.publish = arrived.publish
        if self._settlement is not None:
            arrived.publish([self._settlement(delivery) for delivery in arrived.deliveries])
        self._arrived.set()
        self._arrived = trio.Event()

    async def holds(self, count: int) -> None:
        while len(self.deliveries) < count:
            await self._arrived.wait()


def forwarded_to(queue: str) -> Callable[[Delivery], Settlement]:
    """Return what publishes each delivery on to a queue."""

    def settlement(delivery: Delivery) -> Settlement:
        return Settlement(
            delivery,
            Publishing(queue, delivery.body, APP_ID, delivery.headers, delivery.correlation_id),
        )

    return settlement
