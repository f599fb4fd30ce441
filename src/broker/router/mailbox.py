"""The router's mail: three memory channels, one for each of its loops.

They differ in what must not wait. Chat messages never do: while a large status update is applied in
slices, they are decided between two of them. All else changes the registry, so it comes after the
update that is being applied, and waits in a channel of its own until then.

Deliveries take any room, so that a callback can hand them over without a task: RabbitMQ sends no
more than the prefetch before some are acknowledged. The server's news have no room at all: who
sends them waits until the router takes them, which is all the back-pressure there is.
"""

import math
from collections.abc import Collection

import trio

from broker.amqp import Deliveries
from broker.core.messages import ServerNews


class Mailbox:
    """What the router reads.

    Attributes:
        chat: Deliveries of chat messages, and events to set as a sign of life.
        registrations: All other deliveries.
        news: What is heard from the central server.
        send_news: The other end of `news`.

    Args:
        inputs: The queues of chat messages.
    """

    def __init__(self, inputs: Collection[str]) -> None:
        self._inputs = frozenset(inputs)
        self._send_chat, self.chat = trio.open_memory_channel[Deliveries | trio.Event](math.inf)
        self._register, self.registrations = trio.open_memory_channel[Deliveries](math.inf)
        self.send_news, self.news = trio.open_memory_channel[ServerNews](0)

    def deliver(self, deliveries: Deliveries) -> None:
        """Put in deliveries. Does not wait."""
        send = self._send_chat if deliveries.source in self._inputs else self._register
        send.send_nowait(deliveries)

    async def answered(self) -> None:
        """Wait for a sign of life: until the router has decided the chat messages of now."""
        reached = trio.Event()
        self._send_chat.send_nowait(reached)
        await reached.wait()
