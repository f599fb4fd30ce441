"""Somebody who opens a WebSocket to a network that a test answers by hand."""

import trio
from trio_websocket import WebSocketRequest

from broker.central.address import ServerAddress
from tests.central.peers import Attempt, Network, Server, start

LIMIT = 1000
ADDRESS = ServerAddress("ws://central:8765/ws", max_message_bytes=LIMIT)


class Peer:
    """The other side of whoever opens WebSockets, and those who do."""

    def __init__(self, network: Network, nursery: trio.Nursery) -> None:
        self.network = network
        self.nursery = nursery

    def listen(
        self, address: ServerAddress = ADDRESS, received: list[str | bytes] | None = None
    ) -> Attempt:
        """Open a WebSocket, and listen until it ends."""

        async def listen() -> None:
            async with self.network.open_websocket(address) as websocket:
                while True:
                    message = await websocket.get_message()
                    if received is not None:
                        received.append(message)

        return start(self.nursery, listen)

    async def serve(self) -> Server:
        return await self.network.serve(self.nursery)

    async def request(self) -> WebSocketRequest:
        return await self.network.request(self.nursery)
