"""The contenders, and how each is started as a process of its own."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from broker.core.messages import AgentStatus
from broker.sandbox.broker_process import open_broker
from broker.sandbox.kept_process import CLOSE_TIMEOUT, KeptProcess, start_kept
from tests.bench.builds import Build, Built, build_amqplib, build_rabbitmq_c
from tests.bench.names import AGENTS
from tests.lab.central_server import CentralServer
from tests.lab.rabbitmq_node import RabbitmqNode

ROOT = Path(__file__).parents[2]
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
OUR_PREFETCH = 1000


@dataclass(frozen=True)
class Contender:
    """One way to route messages.

    Attributes:
        keeps_order: Whether it promises the order of the input in the output.
        module: The program in `bench.contenders`, if it is one in Python.
        build: What makes the program, if it is in another language.
    """

    name: str
    title: str
    keeps_order: bool
    module: str | None = None
    interpreter: str = str(PEER_PYTHON)
    build: Build | None = None


BROKER = Contender("broker", "this broker", keeps_order=True)
ONE_LOOP = Contender(
    "one-loop", "its AMQP half in one asyncio loop", True, "one_loop", sys.executable
)
RABBITMQ_C = Contender("c", "C, with rabbitmq-c", True, build=build_rabbitmq_c)
AIO_PIKA = Contender("aio-pika", "aio-pika, idiomatic", False, "aio_pika_robust")
FASTSTREAM = Contender("faststream", "FastStream, idiomatic", False, "faststream_subscriber")
PIKA = Contender("pika", "pika, one confirm at a time", True, "pika_confirms")
AMQPLIB = Contender("amqplib", "amqplib (Node.js), idiomatic", True, build=build_amqplib)
RECONNECTING = Contender(
    "reconnecting", "a connection per publish (pika)", True, "connection_per_publish"
)
CONTENDERS = (BROKER, ONE_LOOP, RABBITMQ_C, AIO_PIKA, FASTSTREAM, AMQPLIB, PIKA, RECONNECTING)


@dataclass(frozen=True)
class Environment:
    """Where contenders run.

    Attributes:
        built: The programs that had to be built, by the contender's name.
    """

    node: RabbitmqNode
    server: CentralServer
    log_directory: Path
    built: Mapping[str, Built] = field(default_factory=dict)

    def bring_agents_online(self) -> None:
        self.server.update(*(AgentStatus(agent, agent, is_online=True) for agent in AGENTS))

    @asynccontextmanager
    async def running(
        self, contender: Contender, *, prefetch: int = OUR_PREFETCH
    ) -> AsyncIterator[int]:
        """Run a contender for the length of the context; it may be ended by force.

        Args:
            prefetch: Of the broker, its AMQP half and the program in C; the others have their own.
        """
        if contender == BROKER:
            settings = {
                "AMQP_URL": self.node.url,
                "WEBSOCKET_URL": self.server.url,
                "BROKER_PREFETCH": str(prefetch),
                "BROKER_HTTP_PORT": "off",
            }
            async with open_broker(self.log_directory, settings) as broker:
                yield broker.pid
                await broker.stop()
            return
        if contender.build is None:
            module = f"tests.bench.contenders.{contender.module}"
            program = (contender.interpreter, "-m", module)
            command: tuple[str, ...] = (*program, self.node.url, str(prefetch))
        else:
            command = self.built[contender.name].started_with(self.node.url, prefetch)
        kept = await start_kept(
            command,
            KeptProcess,
            directory=ROOT,
            environment=os.environ,
            log=self._log(contender),
        )
        assert kept is not None
        try:
            yield kept.pid
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await kept.end()

    def last_words(self, contender: Contender) -> str:
        lines = self._log(contender).read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def _log(self, contender: Contender) -> Path:
        # Under the name that `open_broker` gives to the broker's.
        return self.log_directory / f"{contender.name}.log"
