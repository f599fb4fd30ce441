"""The central server: the truth about who is online, and a WebSocket that it may break."""

import json
from itertools import cycle
from random import choice, random, sample
from typing import Any

import trio
from trio_websocket import ConnectionClosed, HandshakeError

from tests.lab.websocket_peers import Network, Server
from tests.simulation.trace import Trace
from tests.simulation.traffic import AGENTS

_NAMES = ("Ada", "half an emoji \ud83d", None, 5)
_FLAGS = {True: (True, 1, 1.0, "true", "1"), False: (False, 0, "False", "0")}
"""As servers write them."""
_ABILITIES: tuple[dict[str, Any], ...] = (
    *({}, {"capabilities": ["sums"]}, {}, {"capabilities": ["tables"]}, {"capabilities": None}),
    *({"capabilities": ["tables", "sums"]}, {"capabilities": "sums"}, {"capabilities": []}),
)
"""What an entry says of them, if anything that can be understood."""


class CentralServer:
    """Serves the broker, one connection after the other.

    Attributes:
        has_broker: A broker has registered, and is still there.
        refuses: It answers the registration with an error.
    """

    def __init__(self, network: Network, trace: Trace) -> None:
        self.online = set[str]()
        self.refuses = False
        self.is_silent = False
        self._network = network
        self._trace = trace
        self._session: Server | None = None
        self.has_broker = False
        self._names = cycle(_NAMES)
        self._abilities = cycle(_ABILITIES)
        self._flags = {is_online: cycle(flags) for is_online, flags in _FLAGS.items()}
        self._binary = cycle([False, True, True])
        self._unsent, self._outgoing = trio.open_memory_channel[str](1000)

    async def run(self) -> None:
        while True:
            with trio.CancelScope() as scope:
                try:
                    async with trio.open_nursery() as nursery:
                        self._session = await self._network.serve_in(nursery)
                        self._trace.note("websocket connected")
                        nursery.start_soon(self._send)
                        await self._listen(self._session)
                except* (ConnectionClosed, HandshakeError, trio.BrokenResourceError):
                    pass
                self._session = None
                self.has_broker = False
                scope.cancel()
            self._trace.note("websocket gone")

    def come_and_go(self) -> None:
        """Change who is online, and tell the broker."""
        changed = sample(AGENTS, 2)
        self.online ^= set(changed)
        self.tell(changed, is_full=False)

    def tell_all(self) -> None:
        self.tell(AGENTS if random() < 0.5 else sorted(self.online), is_full=True)

    def tell(self, agents: Any, *, is_full: bool) -> None:
        entries: list[Any] = [
            {
                "agent_id": agent,
                "agent_name": next(self._names),
                "is_online": next(self._flags[agent in self.online]),
                **next(self._abilities),
            }
            for agent in agents
        ]
        self._say("AGENT_STATUS_UPDATE", agents=entries, is_full_update=is_full)

    def talk_nonsense(self) -> None:
        self._say_text(
            choice(["", "[]", "{", '{"message_type":"NEWS"}', '{"message_type":"PING"}', '{"a":1}'])
        )

    def hang_up(self) -> None:
        """Cut the connection: the broker sees a reset, or an end."""
        if self._session is not None and self._network.wires:
            self._network.wires[-1].is_reset = random() < 0.5
            self._session.stream.send_stream.close()
            self._session.stream.receive_stream.close()

    async def _listen(self, session: Server) -> None:
        while True:
            message = json.loads(await session.websocket.get_message())
            if self.is_silent:
                continue
            match message["message_type"]:
                case "REGISTER_BROKER" if self.refuses:
                    self._say("ERROR", message="refused by chance")
                case "REGISTER_BROKER":
                    self.has_broker = True
                    self._say("REGISTER_BROKER_RESPONSE", status="success", broker_id="broker_1")
                case "REQUEST_AGENT_STATUS":
                    self.tell_all()

    async def _send(self) -> None:
        assert self._session is not None
        async for text in self._outgoing:
            self._trace.note(f"websocket says {text}")
            await self._session.websocket.send_message(
                text.encode() if next(self._binary) else text
            )

    def _say(self, message_type: str, **fields: Any) -> None:
        self._say_text(json.dumps({"message_type": message_type, **fields}))

    def _say_text(self, text: str) -> None:
        if self._session is not None:
            self._unsent.send_nowait(text)
