"""A private RabbitMQ node: its own ports and directory, loopback only, gone with its opener.

The node and its epmd each run under a keeper (see `broker.sandbox.keeper`), so that nothing stays
behind even when this process is killed.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import trio

from broker.sandbox import keeper
from broker.sandbox.free_ports import free_ports
from broker.sandbox.kept_process import CLOSE_TIMEOUT, KeptProcess, start_kept
from broker.sandbox.rabbitmq_errors import NodeEndedError, RabbitmqNodeError
from broker.sandbox.rabbitmq_files import Membership, lone_member, write_files
from broker.sandbox.rabbitmq_installation import Installation, find_installation

START_ATTEMPTS: Final = 3
"""How often another set of free ports is tried: somebody may take one before the node does."""
_STARTUP_TIMEOUT: Final = 60.0
_POLL_INTERVAL: Final = 0.1
_ANSWER_TIMEOUT: Final = 2.0

_AMQP_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_FRAME_PREFIX_SIZE: Final = 7  # type, channel, payload size
_CONNECTION_START: Final = b"\x00\x0a\x00\x0a"  # class 10, method 10


class RabbitmqNode:
    """A RabbitMQ node of one's own, made by `open_rabbitmq_node`.

    Its ports, directory, data and credentials stay the same however often it is killed and
    started. Only one task at a time may do that.

    Attributes:
        url: Where and as whom to connect, as an ``amqp://`` URL.
        directory: Everything it writes, removed at the end.
        name: What Erlang calls it, host included.
    """

    def __init__(
        self,
        installation: Installation,
        membership: Membership,
        *,
        startup_timeout: float = _STARTUP_TIMEOUT,
    ) -> None:
        self.host: Final = membership.address
        self.port, distribution_port = free_ports(2)
        self.url: Final = f"amqp://guest:guest@{self.host}:{self.port}/"
        self.directory: Final = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._share: Final = keeper.share(str(self.directory))
        self._log: Final = self.directory / "node.log"
        self._installation: Final = installation
        self._startup_timeout: Final = startup_timeout
        self._membership: Final = membership
        self.name: Final = membership.node
        self._environment: Final = write_files(
            self.directory,
            membership,
            port=self.port,
            distribution_port=distribution_port,
            search_path=installation.search_path,
        )
        self._epmd: KeptProcess | None = None
        self._server: KeptProcess | None = None

    async def start(self) -> None:
        """Start the node, with the data it already has, and wait until it speaks AMQP.

        When it runs already, only wait for it. When cancelled, the node may go on starting.

        Raises:
            RabbitmqNodeError: It ended, or was not ready within the startup timeout. The text ends
                with the tail of its log.
        """
        deadline = trio.current_time() + self._startup_timeout
        if self._epmd is None and self._membership.keeps_epmd:
            self._epmd = await self._keep(
                # In the foreground, or RabbitMQ would leave a daemon of its own behind.
                *(self._installation.epmd, "-port", str(self._membership.epmd_port)),
                *("-address", self.host),
            )
        if self._server is None or not self._server.is_running:
            self._server = await self._keep(self._installation.server)
        with trio.move_on_at(deadline):
            while self._server.is_running and (self._epmd is None or self._epmd.is_running):
                if await self.answers():
                    return
                await trio.sleep(_POLL_INTERVAL)
            raise NodeEndedError(f"RabbitMQ ended while starting:\n{self.log_tail(30)}")
        raise RabbitmqNodeError(
            f"RabbitMQ was not ready after {self._startup_timeout:g} s:\n{self.log_tail(30)}"
        )

    @property
    def is_running(self) -> bool:
        """Whether the node's process runs; it may not be ready yet."""
        return self._server is not None and self._server.is_running

    async def kill(self) -> None:
        """Kill the node's virtual machine (SIGKILL) and wait until it is gone.

        Does nothing when it is not running.
        """
        if self._server is None:
            return
        self._server.signal(signal.SIGKILL)
        await self._server.end()
        self._server = None

    async def answers(self) -> bool:
        """Tell, within 2 s, whether this node (not another on its port) speaks AMQP."""
        with trio.move_on_after(_ANSWER_TIMEOUT), suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream(self.host, self.port) as stream:
                await stream.send_all(_AMQP_HEADER)
                frame = b""
                async for received in stream:
                    frame += received
                    # The cluster's name, by default made of the node's, is among the properties.
                    if (
                        frame[_FRAME_PREFIX_SIZE:].startswith(_CONNECTION_START)
                        and self._membership.name.encode() in frame
                    ):
                        return True
        return False

    def log_tail(self, lines: int) -> str:
        """Return the last lines of what the node and its epmd wrote."""
        written = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(written[-lines:])

    async def close(self) -> None:
        """Kill what runs and remove the directory. For who made it: nothing works afterwards."""
        await self.kill()
        os.close(self._share)
        if self._epmd is not None:
            await self._epmd.end()
        # The last keeper did it, unless it ended before its time or never began.
        shutil.rmtree(self.directory, ignore_errors=True)

    async def _keep(self, *command: str) -> KeptProcess:
        kept = await start_kept(
            command,
            KeptProcess,
            directory=self.directory,
            environment=self._environment,
            log=self._log,
            removes_directory=True,
        )
        if kept is None:
            raise RabbitmqNodeError(f"{command[0]} could not be started")
        return kept


@asynccontextmanager
async def open_rabbitmq_node() -> AsyncIterator[RabbitmqNode]:
    """Run a private RabbitMQ node, ready for connections, for the length of the context.

    It listens on loopback only, and disappears with its directory at the end of
    the context or of this process, whichever comes first, even when the process is killed. The end
    is shielded from cancellation and bounded by `CLOSE_TIMEOUT`.

    Raises:
        RabbitmqNotInstalledError: RabbitMQ or Erlang is missing; the text says how to install it.
        RabbitmqNodeError: The node did not start. The text ends with the tail of its log.
    """
    installation = find_installation()
    async with started(lambda: RabbitmqNode(installation, lone_member())) as node:
        yield node


class Startable(Protocol):
    """What needs free ports to start."""

    async def start(self) -> None:
        """Start it, or raise `NodeEndedError`, perhaps because one of its ports was taken."""

    async def close(self) -> None:
        """End it, whatever state it is in."""


@asynccontextmanager
async def started[T: Startable](make: Callable[[], T]) -> AsyncIterator[T]:
    """Start something for the length of the context, with other ports when that fails at first.

    The end is shielded from cancellation and bounded by `CLOSE_TIMEOUT`.

    Args:
        make: Makes it, with ports that are free at the moment.

    Raises:
        NodeEndedError: The last of `START_ATTEMPTS` did not start, either.
    """
    for attempt in range(1, START_ATTEMPTS + 1):
        made = make()
        try:
            try:
                await made.start()
            except NodeEndedError:
                if attempt == START_ATTEMPTS:
                    raise
                continue
            yield made
            return
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await made.close()
