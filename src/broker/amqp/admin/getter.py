"""The asyncio half of looking into a queue: `basic.get`, many at once, and single acknowledgements.

Unlike a consumer it takes nothing that it has not asked for, and learns when the queue is empty.
aiormq's own `basic_get` waits for each answer, and ends the connection at properties that it cannot
decode; so the answers are taken out of the stream before it sees them.
"""

import asyncio
import struct
from collections.abc import Mapping, Sequence

import msgspec
from aiormq import Channel
from pamqp import commands, frame
from pamqp.constants import FRAME_METHOD

from broker.amqp.admin.all_properties import decode_all_properties
from broker.amqp.connection import RPC_TIMEOUT
from broker.amqp.wire.raw_properties import NO_PROPERTIES
from broker.amqp.wire.takers import ContentTaker, index
from broker.amqp.wire.writer import FrameWriter

_GET_EMPTY = index(commands.Basic.GetEmpty)
_unpack_tag = struct.Struct(">Q").unpack_from
_unpack_behind = struct.Struct(">I").unpack


class Got(msgspec.Struct, frozen=True):
    """One message that was asked for. Unless it is acknowledged, it returns to its queue.

    Attributes:
        tag: The delivery tag; it lives and dies with the session.
        headers: All AMQP headers, with values of any kind; whatever somebody chose to send.
        properties: All other AMQP properties that are present, by their names; see `AllProperties`.
    """

    tag: int
    body: bytes
    behind: int
    headers: Mapping[str, object] = {}
    properties: Mapping[str, object] = {}
    properties_error: str | None = None
    raw_properties: bytes = NO_PROPERTIES

    def __repr__(self) -> str:
        return f"<Got {self.tag}>"


class QueueGetter:
    """Asks one queue for messages; the `FrameTaker` of its channel."""

    def __init__(self, queue: str, channel: Channel, writer: FrameWriter) -> None:
        self._channel = channel
        self._writer = writer
        self._request = frame.marshal(commands.Basic.Get(queue=queue), channel.number)
        self._unanswered = 0
        self._got: list[Got] = []
        # What was there when nothing but an answer was wanted.
        self._ahead: list[Got] = []
        self._answers = ContentTaker(commands.Basic.GetOk, _tag_and_behind, self._complete)
        self._progressed = asyncio.Event()

    async def get(self, count: int) -> Sequence[Got]:
        """Ask for so many messages, all in memory at once, and return those that were there.

        Raises:
            TimeoutError: RabbitMQ sent nothing for `RPC_TIMEOUT` seconds.
        """
        ahead, self._ahead = self._ahead[:count], self._ahead[count:]
        return [*ahead, *await self._ask(count - len(ahead))]

    async def _ask(self, count: int) -> list[Got]:
        self._got = []
        self._unanswered = count
        self._writer.write(self._request * count)
        while self._unanswered:
            self._progressed.clear()
            async with asyncio.timeout(RPC_TIMEOUT):
                await self._progressed.wait()
        return self._got

    async def acknowledge(self, messages: Sequence[Got]) -> None:
        """Acknowledge messages, each by itself, and return when RabbitMQ has dealt with that.

        It may take one more message, which is the first that the next `get` returns.
        """
        if not messages:
            return
        self._writer.write(
            b"".join(
                frame.marshal(commands.Basic.Ack(message.tag), self._channel.number)
                for message in messages
            )
        )
        await self._writer.flushed()
        # Nothing answers an acknowledgement, but what is asked behind it is answered after it. The
        # channel keeps back what it has for a quorum queue that has not answered 32 times, loses it
        # with the connection, and sends it on when the queue answers: here, when it is asked.
        self._ahead += await self._ask(1)
        await self._channel.basic_qos(timeout=RPC_TIMEOUT)

    def take(self, frame_type: int, payload: bytes) -> bool:
        """Take the frames of an answer."""
        self._progressed.set()
        if frame_type == FRAME_METHOD and payload.startswith(_GET_EMPTY):
            self._unanswered -= 1
            return True
        return self._answers.take(frame_type, payload)

    def _complete(self, announced: tuple[int, int], raw_properties: bytes, body: bytes) -> None:
        tag, behind = announced
        found = decode_all_properties(raw_properties)
        self._got.append(
            Got(tag, body, behind, found.headers, found.properties, found.error, raw_properties)
        )
        self._unanswered -= 1


def _tag_and_behind(payload: bytes) -> tuple[int, int]:
    # Between the two are names that the sender chose, in bytes that may be anything.
    return _unpack_tag(payload, 4)[0], _unpack_behind(payload[-4:])[0]
