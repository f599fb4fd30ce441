"""The other end of the WebSocket, in memory: a network that tests answer by hand."""

import json
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio
from trio.testing import MemoryReceiveStream, MemorySendStream, memory_stream_pair
from trio_websocket import WebSocketConnection, wrap_server_stream

from broker.central.address import ServerAddress
from broker.central.websocket import WebSocketError, open_websocket

LIMIT = 1000
ADDRESS = ServerAddress("ws://central:8765/ws", max_message_bytes=LIMIT)
CLOSING = 1.0
"""Seconds that closing may take."""
_ROUNDING = 1e-6
_PATIENCE = 1000.0
"""Seconds, of a clock that jumps, after which what did not happen never will."""

type MemoryStream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


class Wire(trio.abc.Stream):
    """The broker's end of a connection, which tests can make misbehave.

    Attributes:
        is_reset: Instead of an end the broker sees a reset.
        is_stuck: What the broker sends does not leave.
    """

    def __init__(self, stream: MemoryStream) -> None:
        self.is_reset = False
        self.is_stuck = False
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if not data and self.is_reset:
            raise trio.BrokenResourceError
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_stuck:
            await trio.sleep_forever()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class Network:
    """Stands in for TCP: whoever connects gets one end of a pair of streams, the test the other.

    Attributes:
        wires: The ends that were handed out.
        connections: Host and port of each attempt to connect.
        failure: Raised for each attempt, if set.
        delay: Seconds that connecting takes.
    """

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        self.connections: list[tuple[str, int]] = []
        self.failure: Exception | None = None
        self.delay = 0.0
        self._arrived, self._arrivals = trio.open_memory_channel[MemoryStream](math.inf)

    async def open_tcp_stream(self, host: str, port: int) -> trio.abc.Stream:
        self.connections.append((host, port))
        await trio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure
        client, server = memory_stream_pair()
        self.wires.append(Wire(client))
        self._arrived.send_nowait(server)
        return self.wires[-1]

    def open_websocket(
        self, address: ServerAddress
    ) -> AbstractAsyncContextManager[WebSocketConnection]:
        return open_websocket(address, connect=self.open_tcp_stream, read_files=_read_files)

    async def accept(self) -> MemoryStream:
        """Wait for the next connection, and return its other end."""
        with trio.fail_after(_PATIENCE):
            return await self._arrivals.receive()

    async def serve_in(self, nursery: trio.Nursery) -> "Server":
        """Wait for the next connection, and accept its WebSocket."""
        stream = await self.accept()
        with trio.fail_after(_PATIENCE):
            request = await wrap_server_stream(nursery, stream)
        return Server(await request.accept(), stream)

    async def serve_by_hand(self) -> MemoryStream:
        """Wait for the next connection, accept its WebSocket, and leave the frames to the test."""
        async with trio.open_nursery() as nursery:
            server = await self.serve_in(nursery)
            nursery.cancel_scope.cancel()
        return server.stream


async def _read_files(address: ServerAddress) -> tuple[str | None, ssl.SSLContext | None]:
    # A clock that jumps would not see that a thread is at work.
    await trio.lowlevel.checkpoint()
    return address.read()


class Server:
    """The server's end of an open WebSocket."""

    def __init__(self, websocket: WebSocketConnection, stream: MemoryStream) -> None:
        self.websocket = websocket
        self.stream = stream

    async def send(self, message_type: str, **fields: Any) -> None:
        await self.send_text(json.dumps({"message_type": message_type} | fields))

    async def send_text(self, text: str) -> None:
        await self.websocket.send_message(text)

    async def receive(self) -> Mapping[str, Any]:
        with trio.fail_after(_PATIENCE):
            message = json.loads(await self.websocket.get_message())
        assert isinstance(message, dict)
        return message

    async def register(self, broker_id: str = "named") -> None:
        """Receive the registration, accept it, and receive the first request for a status."""
        assert (await self.receive())["message_type"] == "REGISTER_BROKER"
        await self.send("REGISTER_BROKER_RESPONSE", status="success", broker_id=broker_id)
        assert (await self.receive())["message_type"] == "REQUEST_AGENT_STATUS"


class Attempt:
    """A task whose end can be awaited, and with what error."""

    def __init__(self, function: Callable[[], Awaitable[None]]) -> None:
        self.scope = trio.CancelScope()
        self._function = function
        self._ended = trio.Event()
        self._error: Exception | None = None

    async def run(self) -> None:
        try:
            with self.scope:
                await self._function()
        except Exception as error:  # noqa: BLE001 - it is the result
            self._error = error
        self._ended.set()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def end(self, within: float = math.inf) -> Exception | None:
        """Wait for the end, which must come within some seconds, and return the error."""
        started = trio.current_time()
        with trio.fail_after(_PATIENCE):
            await self._ended.wait()
        assert trio.current_time() - started <= within + _ROUNDING
        return self._error

    async def failure(self, within: float = 0.0) -> str:
        """Wait for the end, and return what a person would read of the error."""
        error = await self.end(within)
        assert isinstance(error, WebSocketError)
        assert str(error)
        return str(error)

    async def cancelled(self, within: float = CLOSING) -> None:
        self.scope.cancel()
        await self.end(within)
        assert self.scope.cancelled_caught


def start(nursery: trio.Nursery, function: Callable[[], Awaitable[None]]) -> Attempt:
    attempt = Attempt(function)
    nursery.start_soon(attempt.run)
    return attempt


class Peer(Network):
    """A server in memory, and the clients that connect to it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self.nursery = nursery

    async def serve(self) -> Server:
        return await self.serve_in(self.nursery)

    async def read_request(self) -> tuple[MemoryStream, str]:
        """Wait for the next connection, and return its other end and the handshake."""
        stream = await self.accept()
        return stream, (await stream.receive_some(10_000)).decode()

    def listen(
        self, address: ServerAddress = ADDRESS, received: list[str | bytes] | None = None
    ) -> Attempt:
        """Open a WebSocket, and listen until it ends."""

        async def listen() -> None:
            async with self.open_websocket(address) as websocket:
                while True:
                    message = await websocket.get_message()
                    if received is not None:
                        received.append(message)

        return start(self.nursery, listen)
