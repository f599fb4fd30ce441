"""Where a scenario takes place: RabbitMQ, the server, the broker between two proxies, the load."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import trio
from yarl import URL

from tests.faults.base_environment import BaseEnvironment
from tests.faults.broker_control import BrokerControl
from tests.faults.checker import Allowed, Verdict
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually
from tests.lab.process_meter import Usage, usage
from tests.lab.proxy import Proxy, open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode

_RESTART_TIMEOUT = 60.0


class Environment(BaseEnvironment):
    """One scenario's surroundings. Made by `open_environment`.

    Attributes:
        node: RabbitMQ. A scenario that changes more of it than its own queues changes it back; one
            that is stopped or frozen at the end goes on.
        server: The stand-in central server; `chat.AGENTS` are online.
    """

    def __init__(
        self,
        node: RabbitmqNode,
        server: CentralServer,
        amqp: Proxy,
        websocket: Proxy,
        directory: Path,
        *,
        random: Random,
        is_long: bool,
    ) -> None:
        super().__init__([node.url], random, is_long=is_long)
        self.node = node
        self.server = server
        self.amqp = amqp
        self.websocket = websocket
        settings = {
            "AMQP_URL": str(URL(node.url).with_port(amqp.port)),
            "WEBSOCKET_URL": str(URL(server.url).with_port(websocket.port)),
            **self.queue_settings(),
        }
        self.broker = BrokerControl(directory, settings)

    async def ctl(self, *arguments: str) -> str:
        return await self.node.ctl(*arguments)

    async def linked(self, *, within: float = 30.0) -> None:
        answers = self.pongs()

        def asked() -> int:
            self.server.send({"message_type": "PING"})
            return self.pongs()

        await eventually(
            asked, "PINGs are answered", until=lambda now: now > answers, within=within
        )

    @asynccontextmanager
    async def broker_under_load(self, rate: float, **settings: str) -> AsyncIterator[None]:
        """Start a broker, and load it while the block runs, which begins when it does its work."""
        await self.broker.start(**settings)
        async with self.load(rate):
            await self.routing()
            await self.linked()
            yield

    def usage(self) -> Usage:
        return usage(self.broker.pid)

    async def finish(self, allowed: Allowed) -> Verdict:
        """Make the peers sound, let the broker route what is left, stop it, and judge."""
        self.amqp.heal()
        self.websocket.heal()
        self.server.accepting = True
        await self.node.resume()
        if self.broker.is_running:
            self.broker.resume()
        else:
            await self.broker.start()
        await self.drained()
        await self.broker.stop()
        return await self.judged(allowed)

    def pongs(self) -> int:
        """How often the broker has answered the server."""
        return sum(message.get("message_type") == "PONG" for message in self.server.received)


@asynccontextmanager
async def open_environment(
    node: RabbitmqNode, directory: Path, random: Random, *, is_long: bool
) -> AsyncIterator[Environment]:
    """Prepare an env: queues, a server with agents online, proxies, a broker to be started."""
    async with (
        open_central_server() as server,
        open_proxy(node.port, random=random) as amqp,
        open_proxy(URL(server.url).port or 0, random=random) as websocket,
    ):
        env = Environment(node, server, amqp, websocket, directory, random=random, is_long=is_long)
        async with env.prepared(server, [env.broker]):
            try:
                yield env
            finally:
                with trio.move_on_after(_RESTART_TIMEOUT, shield=True):
                    await node.resume()
                    await node.start()
