"""The way to the socket: at once and in order, and known when the system has taken it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.writer import FrameWriter
from tests.amqp.in_asyncio import in_asyncio

MUCH = bytes(1 << 24)
"""More than fits into the buffers of a socket."""


class Connected:
    """A connection whose peer reads only when it is told to."""

    def __init__(self, stream: asyncio.StreamWriter, peer: socket.socket) -> None:
        self._stream = stream
        self._peer = peer
        self.writer = FrameWriter(stream)

    async def read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        read = bytearray()
        while len(read) < size:
            read += await loop.sock_recv(self._peer, size - len(read))
        return bytes(read)

    async def lose(self) -> None:
        self._peer.close()
        await self._stream.wait_closed()


@asynccontextmanager
async def connected() -> AsyncIterator[Connected]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    _, stream = await asyncio.open_connection(sock=ours)
    with peer:
        yield Connected(stream, peer)
        stream.transport.abort()


@in_asyncio
async def test_writes_at_once_and_in_order() -> None:
    async with connected() as connection:
        connection.writer.write(b"1")
        connection.writer.write(b"2")
        assert await connection.read(2) == b"12"
        await connection.writer.flushed()


@in_asyncio
async def test_is_not_flushed_while_the_peer_takes_nothing() -> None:
    async with connected() as connection:
        connection.writer.write(MUCH)
        connection.writer.write(b"last")
        flushed = asyncio.create_task(connection.writer.flushed())
        await asyncio.sleep(0)
        assert not flushed.done()
        assert await connection.read(len(MUCH) + 4) == MUCH + b"last"
        await flushed


@in_asyncio
async def test_a_lost_connection_is_left_alone_and_said_when_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected() as connection:
        connection.writer.write(MUCH)
        flushed = asyncio.create_task(connection.writer.flushed())
        await asyncio.sleep(0)
        with suppress(ConnectionError):
            await connection.lose()
        with pytest.raises(AmqpError, match="writing to RabbitMQ"):
            await flushed
        for _ in range(10):
            connection.writer.write(b"nobody reads this")
    assert not caplog.records  # asyncio would complain of the fifth
