"""Where a scenario takes place: RabbitMQ, the server, the broker between two proxies, the load."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import trio
from anyio.from_thread import BlockingPortal, start_blocking_portal
from yarl import URL

from broker.core.messages import AgentStatus
from tests.faults import chat
from tests.faults.base_environment import BaseEnvironment
from tests.faults.broker_control import BrokerControl
from tests.faults.checker import Allowed, Verdict
from tests.faults.failure import ScenarioFailedError
from tests.faults.process_usage import Usage, usage
from tests.faults.proxy import Proxy, open_proxy
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode

_POLL_INTERVAL = 0.1
_CLOSE_TIMEOUT = 30.0


class Environment(BaseEnvironment):
    """One scenario's surroundings. Made by `open_environment`.

    Attributes:
        node: RabbitMQ. A scenario that stops it, or changes more than its own queues, asks for a
            node of its own in the table of scenarios.
        server: The stand-in central server; `chat.AGENTS` are online.
        amqp: The proxy between the broker and RabbitMQ.
        websocket: The proxy between the broker and the server.
        broker: The broker, not started yet.
    """

    def __init__(
        self,
        *,
        node: RabbitmqNode,
        server: CentralServer,
        amqp: Proxy,
        websocket: Proxy,
        portal: BlockingPortal,
        directory: Path,
        random: Random,
        is_long: bool,
    ) -> None:
        super().__init__(portal, [node.url], random, is_long=is_long)
        self.node = node
        self.server = server
        self.amqp = amqp
        self.websocket = websocket
        self.broker = BrokerControl(directory, self._settings())

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl; see `RabbitmqNode.ctl`."""
        return await self.node.ctl(*arguments)

    async def linked(self, *, within: float = 30.0) -> None:
        """Wait until the broker answers the server.

        Args:
            within: Seconds until it is too late.

        Raises:
            ScenarioFailedError: It does not.
        """
        answers = self._answers()
        with trio.move_on_after(within):
            while self._answers() == answers:
                self.server.send({"message_type": "PING"})
                await trio.sleep(_POLL_INTERVAL)
            return
        raise ScenarioFailedError(f"the broker did not answer the server within {within:g} s")

    def usage(self) -> Usage:
        """Return what the broker's process holds now."""
        return usage(self.broker.pid)

    async def finish(self, allowed: Allowed) -> Verdict:
        """Make the peers sound, let the broker route what is left, stop it, and judge.

        Args:
            allowed: What the scenario may lead to.

        Raises:
            ScenarioFailedError: The broker did not route what was left, or did not stop as asked.
        """
        self.amqp.heal()
        self.websocket.heal()
        self.server.accepting = True
        await self.node.resume()
        if self.broker.is_running:
            self.broker.resume()
        else:
            await self.broker.start()
        await self.drained()
        code = await self.broker.terminate()
        if code != 0:
            raise ScenarioFailedError(f"the broker stopped with exit code {code}")
        return await self.judged(allowed)

    def _answers(self) -> int:
        return sum(message.get("message_type") == "PONG" for message in self.server.received)

    def _settings(self) -> dict[str, str]:
        amqp = URL(self.node.url).with_port(self.amqp.port)
        websocket = URL(self.server.url).with_port(self.websocket.port)
        return {
            "AMQP_URL": str(amqp),
            "WEBSOCKET_URL": str(websocket),
            **self.queue_settings(),
        }


@asynccontextmanager
async def open_environment(
    node: RabbitmqNode, directory: Path, random: Random, *, is_long: bool
) -> AsyncIterator[Environment]:
    """Prepare an env: queues, a server with agents online, proxies, a broker to be started.

    Args:
        node: A running node.
        directory: Where the broker runs and has its log.
        random: The source of all that is random.
        is_long: Whether the long form is to be run.
    """
    with start_blocking_portal("asyncio", name="chaos") as portal:
        async with (
            open_central_server() as server,
            open_proxy(node.port, random=random) as amqp,
            open_proxy(URL(server.url).port or 0, random=random) as websocket,
        ):
            env = Environment(
                node=node,
                server=server,
                amqp=amqp,
                websocket=websocket,
                portal=portal,
                directory=directory,
                random=random,
                is_long=is_long,
            )
            server.update(*(AgentStatus(name, name, is_online=True) for name in chat.AGENTS))
            await env.client.declare(env.queue_names())
            try:
                yield env
            finally:
                with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                    await env.broker.close()
            await env.client.delete(env.queue_names())
