"""The router's mailbox: four memory channels, one for each of its loops.

They differ in what may wait. Chat messages never do: while a large status update is applied in
slices, they are decided between slices. Those that are held take turns with them, and no more than
half of the time. Everything else changes the registry, so it waits in its own channel until the
update is applied.

Channels for deliveries are unbounded, so that a callback can fill them without a task of its own:
RabbitMQ sends no more than the prefetch before some are acknowledged. The channel for news of the
server has no buffer: the sender waits until the router receives, which is all the back-pressure
that is needed.
"""

import math
from collections.abc import Collection

import trio

from broker.amqp import Deliveries
from broker.core.messages import ServerNews


class Mailbox:
    """Where the router receives.

    Args:
        inputs: The queues with chat messages.
        held: The queue with those that nobody could receive.
    """

    def __init__(self, inputs: Collection[str], held: str | None = None) -> None:
        self._inputs = frozenset(inputs)
        self._held_queue = held
        # Events stand among the deliveries of chat messages, to be set as a sign of life.
        self._send_chat, self.chat = trio.open_memory_channel[Deliveries | trio.Event](math.inf)
        self._send_held, self.held = trio.open_memory_channel[Deliveries](math.inf)
        self._send_others, self.registrations = trio.open_memory_channel[Deliveries](math.inf)
        self.send_news, self.news = trio.open_memory_channel[ServerNews](0)

    def deliver(self, deliveries: Deliveries) -> None:
        """Put in deliveries. Does not wait."""
        if deliveries.source in self._inputs:
            self._send_chat.send_nowait(deliveries)
        elif deliveries.source == self._held_queue:
            self._send_held.send_nowait(deliveries)
        else:
            self._send_others.send_nowait(deliveries)

    async def answered(self) -> None:
        """Wait for a sign of life: until the router has decided all chat messages that wait now."""
        reached = trio.Event()
        self._send_chat.send_nowait(reached)
        await reached.wait()
