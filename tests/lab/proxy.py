"""A TCP proxy on loopback that can be made to fail in the ways in which networks fail.

Lasting faults (delay, stall, trickle, reset after some bytes) concern connections that are open and
those that come, until `Proxy.heal`; a refusal concerns those that come. Cutting, resetting and
half-closing concern the connections that are open. None of the methods waits.
"""

import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Flag, auto
from random import Random

import trio

HOST = "127.0.0.1"
_CHUNKS = 64
"""What one direction holds back, in chunks of up to 64 KiB: then the sender has to wait."""
_FAREWELL_TIMEOUT = 1.0
"""Seconds that a peer has to close after a clean cut."""
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing sends RST, and drops what is unsent


class Toward(Flag):
    """A direction, by the side that the bytes go to."""

    CLIENT = auto()
    SERVER = auto()
    BOTH = CLIENT | SERVER


@dataclass(slots=True)
class _Faults:
    delay: float = 0.0
    jitter: float = 0.0
    stalled: bool = False
    piece: int | None = None
    pause: float = 0.0
    reset_after: int | None = None
    healed: trio.Event = field(default_factory=trio.Event)
    """Set when all this is over, and nothing of it counts any more."""


class Proxy:
    """A listening proxy. Made by `open_proxy`.

    Attributes:
        port: Where it listens. It stays the same, and nobody else gets it.
        connections: How many it has accepted so far.
        forwarded: How many bytes went each way so far.
    """

    def __init__(self, upstream_port: int, *, tls: ssl.SSLContext | None, random: Random) -> None:
        # Bound and never listening, it keeps the port while connections are refused.
        self._port_keeper = _bound_socket(0)
        self.port: int = self._port_keeper.getsockname()[1]
        self.connections = 0
        self.forwarded = Counter[Toward]()
        self._upstream_port = upstream_port
        self._tls = tls
        self._random = random
        self._faults = {Toward.CLIENT: _Faults(), Toward.SERVER: _Faults()}
        self._open: set[_Connection] = set()
        self._listener: trio.SocketListener | None = None
        self._listening = trio.Event()
        self._listen()

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def delay(self, seconds: float, *, jitter: float = 0.0, toward: Toward = Toward.BOTH) -> None:
        """Let bytes arrive later, in order, without making the line narrower.

        Args:
            jitter: Up to so many seconds are added, at random.
        """
        for faults in self._of(toward):
            faults.delay, faults.jitter = seconds, jitter

    def stall(self, toward: Toward = Toward.BOTH) -> None:
        """Forward nothing any more and keep the connections open: a black hole."""
        for faults in self._of(toward):
            faults.stalled = True

    def trickle(self, size: int, pause: float, *, toward: Toward = Toward.BOTH) -> None:
        """Forward a few bytes at a time.

        Args:
            pause: Seconds after each few.
        """
        for faults in self._of(toward):
            faults.piece, faults.pause = size, pause

    def reset_after(self, count: int, *, toward: Toward) -> None:
        """Reset each connection once so many more bytes went that way; in mid-frame, perhaps."""
        for faults in self._of(toward):
            faults.reset_after = count
        for connection in self._open:
            for pipe in connection.pipes:
                if pipe.toward in toward:
                    pipe.allowance = count

    def cut(self) -> None:
        """Close all connections cleanly (FIN), towards both sides."""
        for connection in self._open:
            connection.scope.cancel()

    def reset(self) -> None:
        """Reset all connections (RST), towards both sides."""
        for connection in self._open:
            connection.reset()

    def half_close(self, toward: Toward) -> None:
        """Send the end of file (FIN) one way, and forward what comes the other way as before."""
        for connection in self._open:
            for pipe in connection.pipes:
                if pipe.toward in toward:
                    pipe.close()

    def refuse(self) -> None:
        """Refuse new connections. Those that are open stay."""
        self._listening = trio.Event()
        if self._listener is not None:
            self._listener.socket.close()
            self._listener = None

    def heal(self) -> None:
        for way, faults in self._faults.items():
            self._faults[way] = _Faults()
            faults.healed.set()
        for connection in self._open:
            for pipe in connection.pipes:
                pipe.allowance = None
        if self._listener is None:
            self._listen()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as connections:
                while True:
                    await self._listening.wait()
                    if self._listener is not None:
                        # That the listener is closed is how refusing begins.
                        with suppress(trio.ClosedResourceError):
                            await trio.serve_listeners(
                                self._serve, [self._listener], handler_nursery=connections
                            )
        finally:
            self.refuse()
            self._port_keeper.close()

    def _listen(self) -> None:
        listening = _bound_socket(self.port)
        listening.listen(128)
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        self._listening.set()

    def _of(self, toward: Toward) -> Iterator[_Faults]:
        return (faults for way, faults in self._faults.items() if way in toward)

    async def _serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        connection = _Connection(client)
        self._open.add(connection)
        try:
            with connection.scope:
                await self._forward(connection)
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            # One side is gone the hard way, or not there: the other side sees the same.
            connection.reset()
        finally:
            self._open.discard(connection)
            await connection.close()

    async def _forward(self, connection: "_Connection") -> None:
        client: trio.abc.Stream = connection.client
        if self._tls is not None:
            client = trio.SSLStream(client, self._tls, server_side=True)
            try:
                await client.do_handshake()
            except trio.BrokenResourceError:
                return  # cleanly, or the alert that says why would not arrive
        # Known before it is connected, so that it can be reset at any moment.
        upstream = connection.upstream = trio.SocketStream(trio.socket.socket())
        await upstream.socket.connect((HOST, self._upstream_port))
        connection.pipes = [
            self._pipe(client, upstream, upstream, Toward.SERVER),
            self._pipe(upstream, client, connection.client, Toward.CLIENT),
        ]
        async with trio.open_nursery() as nursery:
            for pipe in connection.pipes:
                nursery.start_soon(pipe.run, connection)

    def _pipe(
        self,
        source: trio.abc.Stream,
        target: trio.abc.Stream,
        target_socket: trio.SocketStream,
        toward: Toward,
    ) -> "_Pipe":
        allowance = self._faults[toward].reset_after
        return _Pipe(
            *(source, target, target_socket, toward),
            *(self._faults, self.forwarded, self._random, allowance),
        )


@asynccontextmanager
async def open_proxy(
    upstream_port: int, tls: ssl.SSLContext | None = None, random: Random | None = None
) -> AsyncIterator[Proxy]:
    """Run a proxy for the length of the context.

    Args:
        tls: Makes clients speak TLS; the server is spoken to without it.
    """
    proxy = Proxy(upstream_port, tls=tls, random=random or Random())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proxy.run)
        yield proxy
        nursery.cancel_scope.cancel()


@dataclass(slots=True)
class _Pipe:
    source: trio.abc.Stream
    target: trio.abc.Stream
    target_socket: trio.SocketStream
    toward: Toward
    all_faults: Mapping[Toward, _Faults]
    forwarded: Counter[Toward]
    random: Random
    allowance: int | None
    """How many bytes may pass before the connection is reset."""
    closed: bool = False

    @property
    def faults(self) -> _Faults:
        return self.all_faults[self.toward]

    async def run(self, connection: "_Connection") -> None:
        arrived, forwarded = trio.open_memory_channel[tuple[float, bytes]](_CHUNKS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, arrived)
            nursery.start_soon(self._write, forwarded, connection)

    def close(self) -> None:
        """Send the end of file; what comes after it is dropped."""
        self.closed = True
        with suppress(OSError):  # the peer is gone already
            self.target_socket.socket.shutdown(socket.SHUT_WR)

    async def _read(self, arrived: trio.MemorySendChannel[tuple[float, bytes]]) -> None:
        received = b"-"
        while received:  # the end of file takes its time, too
            received = bytes(await self.source.receive_some())
            delay = self.faults.delay + self.random.uniform(0, self.faults.jitter)
            await arrived.send((trio.current_time() + delay, received))

    async def _write(
        self, forwarded: trio.MemoryReceiveChannel[tuple[float, bytes]], connection: "_Connection"
    ) -> None:
        received = b"-"
        while received:
            due, received = await forwarded.receive()
            await self._healed_or(due)
            unsent = memoryview(received)
            while unsent and not self.closed:
                await self._flowing()
                # Taken before the bytes leave: a fault that comes meanwhile is for the next ones.
                size = self.faults.piece
                piece = unsent[:size][: self.allowance]
                if self.allowance is not None:
                    self.allowance -= len(piece)
                await self.target.send_all(piece)
                self.forwarded[self.toward] += len(piece)
                unsent = unsent[len(piece) :]
                if self.allowance == 0:
                    connection.reset()
                if size is not None:
                    await self._healed_or(trio.current_time() + self.faults.pause)
        await self._flowing()
        if self.target is self.target_socket:
            self.close()
        else:
            connection.scope.cancel()  # TLS ends in both directions at once

    async def _flowing(self) -> None:
        while self.faults.stalled:
            await self.faults.healed.wait()

    async def _healed_or(self, due: float) -> None:
        if due > trio.current_time():
            with trio.move_on_at(due):
                await self.faults.healed.wait()


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection: a client, the server, and a pipe each way."""

    client: trio.SocketStream
    upstream: trio.SocketStream | None = None
    pipes: list[_Pipe] = field(default_factory=list)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_reset: bool = False

    def reset(self) -> None:
        self.is_reset = True
        self.scope.cancel()

    async def close(self) -> None:
        sides = [side for side in (self.client, self.upstream) if side is not None]
        with trio.move_on_after(_FAREWELL_TIMEOUT, shield=True):
            if not self.is_reset:
                async with trio.open_nursery() as nursery:
                    for side in sides:
                        nursery.start_soon(_say_farewell, side)
        for side in sides:
            if self.is_reset:
                side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            side.socket.close()


async def _say_farewell(side: trio.SocketStream) -> None:
    """Send the end of file and wait for the peer's.

    Closing a socket with something unread in it would send RST.
    """
    with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        side.socket.shutdown(socket.SHUT_WR)
        async for _ in side:
            pass


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound
