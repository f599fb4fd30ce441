"""The router's mail: what tasks put into it, and how much of it may wait."""

import math
from collections.abc import Callable

import msgspec
import trio

from broker.amqp import Deliveries
from broker.core.messages import BrokerRegistered, ServerLost, StatusUpdate


class SignOfLife(msgspec.Struct, frozen=True):
    """Somebody wants to know whether the router makes progress.

    Attributes:
        given: Called when it does; must not raise.
    """

    given: Callable[[], None]


type Mail = Deliveries | StatusUpdate | BrokerRegistered | ServerLost | SignOfLife


class Mailbox:
    """Mail for one reader, in the order in which it came.

    Deliveries never wait for room, so that a callback can hand them over without a task of its own:
    RabbitMQ sends no more than the prefetch before some are acknowledged. All other mail waits
    while as much of it as there is room for has not been dealt with.

    Args:
        room: For mail that is no deliveries.
    """

    def __init__(self, room: int = 16) -> None:
        self._send, self._receive = trio.open_memory_channel[Mail](math.inf)
        self._room = trio.Semaphore(room)

    def deliver(self, deliveries: Deliveries) -> None:
        """Put in deliveries. Does not wait."""
        self._send.send_nowait(deliveries)

    async def send(self, mail: StatusUpdate | BrokerRegistered | ServerLost | SignOfLife) -> None:
        """Put in other mail, once there is room. Cancelling it puts in nothing."""
        await self._room.acquire()
        self._send.send_nowait(mail)

    async def receive(self) -> Mail:
        """Wait for mail, and take it out. Cancelling it takes out nothing."""
        return await self._receive.receive()

    def receive_nowait(self) -> Mail:
        """Take out what is there.

        Raises:
            trio.WouldBlock: Nothing is there.
        """
        return self._receive.receive_nowait()

    def dealt_with(self, mail: Mail) -> None:
        """Make room for more; to be called once for all that was taken out."""
        if not isinstance(mail, Deliveries):
            self._room.release()
