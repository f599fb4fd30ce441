"""A central server by hand, for what no library would do: each connection is in a scenario's hands.

What it sends are bytes; only the handshake, and what the broker says, are left to wsproto.
"""

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Request, TextMessage

from broker.sandbox.central_server import HOST, PATH, Message
from tests.lab.websocket_frames import text

REGISTERED: Message = {
    "message_type": "REGISTER_BROKER_RESPONSE",
    "status": "success",
    "broker_id": "broker-by-hand",
}
_RECEIVE_BYTES = 65_536
_RECEIVE_BUFFER = 4_096
"""Of the kernel: a broker that is not read soon cannot send any more."""
_PATIENCE = 20.0
"""Seconds that a broker has for its part of the handshake and of the registration."""
_LEAVING = 15.0
"""Seconds that a broker has to close a connection that is of no use."""


class Peer:
    def __init__(self, stream: trio.SocketStream, agents: Sequence[str]) -> None:
        self.stream = stream
        self._agents = agents
        self._websocket = WSConnection(ConnectionType.SERVER)
        self._events: deque[Event] = deque()

    async def requested(self) -> None:
        await self._until("the handshake", lambda event: isinstance(event, Request))

    async def accept(self) -> None:
        await self.requested()
        await self.stream.send_all(self._websocket.send(AcceptConnection()))

    async def hear(self, message_type: str) -> None:
        """Wait until the broker sends such a message; what comes before it is dropped."""
        await self._until(message_type, lambda event: _type_of(event) == message_type)

    async def hear_close(self) -> None:
        await self._until("closing", lambda event: isinstance(event, CloseConnection))

    async def register(self) -> None:
        """Grant the WebSocket, register the broker, and tell it who is online."""
        await self.accept()
        await self.hear("REGISTER_BROKER")
        await self.stream.send_all(text(REGISTERED) + text(self.full_update()))

    def full_update(self) -> Message:
        agents = [{"agent_id": name, "is_online": True} for name in self._agents]
        return {"message_type": "AGENT_STATUS_UPDATE", "agents": agents, "is_full_update": True}

    async def gone(self, within: float = _LEAVING) -> None:
        """Read until the broker has closed the connection, and do nothing else."""
        with trio.move_on_after(within):
            with suppress(trio.BrokenResourceError):  # by RST, when something was unread
                while await self.stream.receive_some(_RECEIVE_BYTES):
                    pass
            return
        raise AssertionError(f"the broker kept a dead connection for {within:g} s")

    async def _until(self, what: str, is_wanted: Callable[[Event], bool]) -> None:
        with trio.move_on_after(_PATIENCE):
            while True:
                while self._events:
                    if is_wanted(self._events.popleft()):
                        return
                received = bytes(await self.stream.receive_some(_RECEIVE_BYTES))
                if not received:
                    break
                self._websocket.receive_data(received)
                self._events += self._websocket.events()
        raise AssertionError(f"the broker did not do its part: {what}")


class BadServer:
    def __init__(self, listener: trio.SocketListener, agents: Sequence[str]) -> None:
        self.url = f"ws://{HOST}:{listener.socket.getsockname()[1]}{PATH}"
        self._listener = listener
        self._agents = agents

    @asynccontextmanager
    async def connection(self, within: float) -> AsyncIterator[Peer]:
        stream: trio.SocketStream | None = None
        with trio.move_on_after(within):
            stream = await self._listener.accept()
        assert stream is not None, f"the broker did not connect within {within:g} s"
        async with stream:
            yield Peer(stream, self._agents)


@asynccontextmanager
async def open_bad_server(agents: Sequence[str]) -> AsyncIterator[BadServer]:
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    async with listener:
        yield BadServer(listener, agents)


def _type_of(event: Event) -> str | None:
    if not isinstance(event, TextMessage):
        return None
    return msgspec.json.decode(event.data, type=dict[str, str]).get("message_type")
