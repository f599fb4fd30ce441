"""The WebSocket half of a stand-in central server: it names brokers and tells who is online.

It owns the truth about the agents and needs no RabbitMQ; `broker.sandbox.server_queues` is the
other half.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import msgspec
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)
from wsproto.utilities import ProtocolError

from broker.concurrency.wakeup import Gate
from broker.core.messages import AgentStatus

HOST = "127.0.0.1"
PATH = "/ws"
_HEARTBEAT_INTERVAL = 10.0
_HANDSHAKE_TIMEOUT = 10.0
_CLOSE_TIMEOUT = 1.0
_UNSENT_FRAMES = 1000
"""A broker that lets this many frames pile up does not read, and is dropped."""
_RECEIVED_KEPT = 10_000
_GOING_AWAY = 1001
_REGISTERED = "REGISTER_BROKER_RESPONSE"

type Message = Mapping[str, Any]


class CentralServer:
    """A server.

    Attributes:
        agents: The truth about all agents, by id; change it by `update`.
        received: What the brokers sent lately, oldest first; a frame that is no JSON object
            stands there as `{"frame": ...}`.
        serving: Open unless the server is paused: then it has no session, and refuses brokers with
            HTTP status 503.
    """

    def __init__(self, port: int, token: str | None = None) -> None:
        self.url = f"ws://{HOST}:{port}{PATH}"
        self.agents: dict[str, AgentStatus] = {}
        self.received: deque[Message] = deque(maxlen=_RECEIVED_KEPT)
        self.serving = Gate()
        self.serving.open()
        self._token = token
        self._heartbeat_interval = _HEARTBEAT_INTERVAL
        self._broker_numbers = count(1)
        self._sessions: set[_Session] = set()
        self._news = trio.lowlevel.ParkingLot()

    @property
    def session_count(self) -> int:
        """How many brokers are connected and registered."""
        return sum(session.is_registered for session in self._sessions)

    def full_update(self) -> Message:
        """Return the status update that names all agents."""
        return _status_update(self.agents.values(), is_full=True)

    def update(self, *agents: AgentStatus) -> None:
        """Change the truth about some agents, and tell all brokers."""
        self.agents.update({agent.agent_id: agent for agent in agents})
        self.send(_status_update(agents, is_full=False))

    def send(self, message: Message | str) -> None:
        """Send a message, or a text frame that may be anything, to all registered brokers.

        Does not wait; frames leave in the order of the calls.
        """
        frame = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        for session in self._sessions:
            if session.is_registered:
                session.put(frame)

    def pause(self) -> None:
        """End all sessions, and take no brokers until `resume`."""
        self.serving.close()
        for session in self._sessions:
            session.drop(_GOING_AWAY)

    def resume(self) -> None:
        """Take brokers again."""
        self.serving.open()

    async def has_broker(self) -> None:
        """Wait until a broker is registered. Does not time out by itself."""
        while not self.session_count:
            await self._news.park()

    async def heard(self, message_type: str, times: int = 1) -> None:
        """Wait until brokers have sent messages of a type so many times, by `received`.

        Does not time out by itself.
        """
        while sum(m.get("message_type") == message_type for m in self.received) < times:
            await self._news.park()

    def answer(self, message: Message) -> Iterable[Message]:
        """Answer a broker as the contract has it."""
        match message.get("message_type"):
            case "REGISTER_BROKER":
                broker_id = f"broker-{next(self._broker_numbers)}"
                yield {"message_type": _REGISTERED, "status": "success", "broker_id": broker_id}
                yield self.full_update()
            case "REQUEST_AGENT_STATUS":
                yield self.full_update()
            case "PONG":
                pass
            case unknown:
                text = f"unsupported message type: {unknown}"
                yield {"message_type": "ERROR", "text_payload": text}

    async def run(self, listeners: list[trio.SocketListener]) -> None:
        """Serve brokers and send heartbeats until cancelled; sessions are closed in a second."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self.serve, listeners)
            while True:
                await trio.sleep(self._heartbeat_interval)
                timestamp = datetime.now(UTC).isoformat()
                self.send({"message_type": "SERVER_HEARTBEAT", "timestamp": timestamp})

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end; whatever a peer does ends no other."""
        try:
            async with stream, trio.open_nursery() as nursery:
                with trio.fail_after(_HANDSHAKE_TIMEOUT):
                    request = await wrap_server_stream(nursery, stream)
                    status = self._refusal(request)
                    if status is not None:
                        await request.reject(status)
                if status is None:
                    await self._serve_websocket(request)
                nursery.cancel_scope.cancel()
        except* (ConnectionClosed, ProtocolError, OSError, trio.BrokenResourceError):
            pass  # The broker is gone, or was none.
        except* (trio.ClosedResourceError, trio.TooSlowError):
            pass  # Likewise.

    def _refusal(self, request: WebSocketRequest) -> int | None:
        if request.path != PATH:
            return 404
        if not self.serving.is_open:
            return 503
        authorization = dict(request.headers).get(b"authorization")
        if self._token is not None and authorization != f"Bearer {self._token}".encode():
            return 401
        return None

    async def _serve_websocket(self, request: WebSocketRequest) -> None:
        with trio.fail_after(_HANDSHAKE_TIMEOUT):
            websocket = await request.accept()
        session = _Session(websocket)
        self._sessions.add(session)
        try:
            await session.run(partial(self._received, session))
        finally:
            self._sessions.remove(session)

    def _received(self, session: "_Session", frame: str | bytes) -> None:
        message = _decode(frame)
        self.received.append(message)
        for answer in self.answer(message):
            session.put(msgspec.json.encode(answer).decode())
            if answer.get("message_type") == _REGISTERED and answer.get("status") == "success":
                session.is_registered = True
        self._news.unpark_all()


@asynccontextmanager
async def open_central_server[Server: CentralServer](
    make: Callable[[int], Server],
) -> AsyncIterator[Server]:
    """Run a server, made for a free loopback port, for the length of the context."""
    [listener] = await trio.open_tcp_listeners(0, host=HOST)
    server = make(listener.socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, [listener])
        yield server
        nursery.cancel_scope.cancel()


class _Session:
    """One connected broker."""

    def __init__(self, websocket: WebSocketConnection) -> None:
        self.is_registered = False
        self._websocket = websocket
        self._unsent, self._to_send = trio.open_memory_channel[str](_UNSENT_FRAMES)
        self._scope = trio.CancelScope()
        self._code: int | None = _GOING_AWAY  # when the server ends

    def put(self, frame: str) -> None:
        try:
            self._unsent.send_nowait(frame)
        except trio.WouldBlock:
            self.drop(None)

    def drop(self, code: int | None) -> None:
        self.is_registered = False
        self._code = code
        self._scope.cancel()

    async def run(self, received: Callable[[str | bytes], None]) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    while True:
                        received(await self._websocket.get_message())
        finally:
            if self._code is not None:
                with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                    await self._websocket.aclose(self._code)

    async def _write(self) -> None:
        async for frame in self._to_send:
            await self._websocket.send_message(frame)


def _decode(frame: str | bytes) -> Message:
    try:
        return msgspec.json.decode(frame, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {"frame": frame}


def _status_update(agents: Iterable[AgentStatus], *, is_full: bool) -> Message:
    return {
        "message_type": "AGENT_STATUS_UPDATE",
        "agents": list(agents),
        "is_full_update": is_full,
    }
