"""A private RabbitMQ node: own ports, own directory, loopback only, gone with its opener.

The node and its epmd each run under a keeper (see `broker.sandbox.keeper`), so that nothing stays
behind even when this process is killed.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import trio

from broker.sandbox import keeper

HOST: Final = "127.0.0.1"

# Looked through before PATH: Debian's command on PATH switches to a system user and its files.
PACKAGE_DIRECTORIES: Final = ("/usr/lib/rabbitmq/bin",)
# Looked through after PATH: Homebrew's folders are often missing from it.
EXTRA_DIRECTORIES: Final = ("/opt/homebrew/sbin", "/opt/homebrew/bin", "/usr/local/sbin")

START_ATTEMPTS: Final = 3
"""How often another set of free ports is tried: somebody may take one before the node does."""
STOP_TIMEOUT: Final = 30.0
"""Seconds a graceful stop may take before it becomes a kill."""
CLOSE_TIMEOUT: Final = 2 * keeper.GRACE
"""Seconds that leaving the context may take: the keeper's grace, and as much again."""
CTL_TIMEOUT: Final = 60.0
"""Seconds one rabbitmqctl command may take: each starts an Erlang virtual machine."""
_KEEPER_TIMEOUT: Final = 10.0
_POLL_INTERVAL: Final = 0.1
_ANSWER_TIMEOUT: Final = 2.0
_CONFIG: Final = "rabbitmq.conf"

_AMQP_HEADER: Final = b"AMQP\x00\x00\x09\x01"
_FRAME_PREFIX_SIZE: Final = 7  # type, channel, payload size
_CONNECTION_START: Final = b"\x00\x0a\x00\x0a"  # class 10, method 10


class RabbitmqNodeError(Exception):
    """The private RabbitMQ node did not do what it was asked to."""


class RabbitmqNotInstalledError(RabbitmqNodeError):
    """RabbitMQ, or the Erlang it runs on, was not found on this machine."""


class NodeEndedError(RabbitmqNodeError):
    """A node ended before it was ready, perhaps because somebody took one of its ports."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The commands of a RabbitMQ on this machine, and the PATH on which they find each other."""

    server: str
    ctl: str
    epmd: str
    search_path: str


@dataclass(frozen=True, slots=True)
class Membership:
    """How other nodes know a node. A lone one is a cluster of its own.

    Attributes:
        name: The node's name without the host; no other node on this machine has it.
        cookie: The secret that the nodes share.
        epmd_port: Where all of them are registered.
        keeps_epmd: Whether this node runs the epmd, from its first start to its close.
        config: Further lines of rabbitmq.conf.
        advanced_config: The Erlang term that is advanced.config.
        plugins: The plugins that are enabled.
    """

    name: str
    cookie: str
    epmd_port: int
    keeps_epmd: bool = True
    config: str = ""
    advanced_config: str = "[]"
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A command under its keeper."""

    keeper: trio.Process
    process_id: int

    @property
    def running(self) -> bool:
        return self.keeper.poll() is None

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            # macOS answers EPERM for a group of which only a zombie is left.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process_id, number)

    async def end(self) -> None:
        """Let the keeper end the command, and wait for both."""
        if self.keeper.stdin is not None:
            await self.keeper.stdin.aclose()
        await self.keeper.wait()


class RabbitmqNode:
    """A RabbitMQ node of one's own, made by `open_rabbitmq_node`.

    Its ports, directory, data and credentials stay the same however often it is stopped and
    started. Only one task at a time may stop or start it.

    Attributes:
        host: The loopback address it listens on.
        port: Its AMQP port.
        url: Where and as whom to connect, as an ``amqp://`` URL.
        directory: Everything it writes, removed at the end.
        name: What Erlang calls it, host included.
    """

    def __init__(
        self, installation: Installation, membership: Membership, *, startup_timeout: float
    ) -> None:
        self.host: Final = HOST
        self.port, distribution_port = free_ports(2)
        self.url: Final = f"amqp://guest:guest@{HOST}:{self.port}/"
        self.directory: Final = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._share: Final = keeper.share(str(self.directory))
        self._log: Final = self.directory / "node.log"
        self._installation: Final = installation
        self._startup_timeout: Final = startup_timeout
        self._membership: Final = membership
        self.name: Final = f"{membership.name}@localhost"
        self._environment: Final = _environment(
            self.directory,
            membership,
            name=self.name,
            port=self.port,
            distribution_port=distribution_port,
            search_path=installation.search_path,
        )
        self._epmd: _Kept | None = None
        self._server: _Kept | None = None
        self.configure()

    def configure(self, config: str = "") -> None:
        """Set further lines of rabbitmq.conf, in place of those before; the next start reads them.

        Args:
            config: Lines such as `max_message_size = 1048576`, in place of defaults.
        """
        lines = f"{_config(self.port)}{self._membership.config}{config}"
        (self.directory / _CONFIG).write_text(lines, encoding="ascii")

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
                *("-address", HOST),
            )
        if self._server is None or not self._server.running:
            self._server = await self._keep(self._installation.server)
        with trio.move_on_at(deadline):
            while self._server.running and (self._epmd is None or self._epmd.running):
                if await self.answers():
                    return
                await trio.sleep(_POLL_INTERVAL)
            raise NodeEndedError(f"RabbitMQ ended while starting:\n{self.log_tail(30)}")
        raise RabbitmqNodeError(
            f"RabbitMQ was not ready after {self._startup_timeout:g} s:\n{self.log_tail(30)}"
        )

    async def stop(self) -> None:
        """Stop the node gracefully (SIGTERM); one that takes too long is killed.

        Does nothing when it is not running. When cancelled, the node may go on stopping.
        """
        if self._server is None:
            return
        self._server.signal(signal.SIGTERM)
        self._server.signal(signal.SIGCONT)  # a paused node sees SIGTERM only once continued
        with trio.move_on_after(STOP_TIMEOUT):
            await self._server.keeper.wait()
        await self.kill()

    async def kill(self) -> None:
        """Kill the node's virtual machine (SIGKILL) and wait until it is gone.

        Does nothing when it is not running.
        """
        if self._server is None:
            return
        self._server.signal(signal.SIGKILL)
        await self._server.end()
        self._server = None

    async def pause(self) -> None:
        """Freeze the node (SIGSTOP): its connections stay open and nobody answers."""
        if self._server is not None:
            self._server.signal(signal.SIGSTOP)
        await trio.lowlevel.checkpoint()

    async def resume(self) -> None:
        """Let a paused node go on (SIGCONT)."""
        if self._server is not None:
            self._server.signal(signal.SIGCONT)
        await trio.lowlevel.checkpoint()

    async def answers(self) -> bool:
        """Tell, within 2 s, whether this node (not another on its port) speaks AMQP."""
        with trio.move_on_after(_ANSWER_TIMEOUT), suppress(OSError, trio.BrokenResourceError):
            async with await trio.open_tcp_stream(HOST, self.port) as stream:
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

    async def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against this node; when cancelled, the command is ended.

        Args:
            *arguments: The command and its arguments, such as ``"list_queues", "name"``.

        Returns:
            What it wrote to stdout, without banners.

        Raises:
            RabbitmqNodeError: It failed, or took longer than `CTL_TIMEOUT`.
        """
        with trio.move_on_after(CTL_TIMEOUT):
            completed = await trio.run_process(
                [self._installation.ctl, "--quiet", *arguments],
                env=self._environment,
                cwd=self.directory,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
            if completed.returncode != 0:
                said = (completed.stderr + completed.stdout).decode(errors="replace").strip()
                raise RabbitmqNodeError(
                    f"rabbitmqctl {arguments[0]} failed ({completed.returncode}): {said}"
                )
            return completed.stdout.decode(errors="replace")
        raise RabbitmqNodeError(f"rabbitmqctl {arguments[0]} took more than {CTL_TIMEOUT:g} s")

    def log_tail(self, lines: int) -> str:
        """Give the last lines of what the node and its epmd wrote.

        Args:
            lines: How many lines at most.
        """
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

    async def _keep(self, *command: str) -> _Kept:
        with self._log.open("ab") as log:
            return await _keep(
                command, directory=self.directory, environment=self._environment, log=log
            )


@asynccontextmanager
async def open_rabbitmq_node(
    *, startup_timeout: float = 60, config: str = "", plugins: tuple[str, ...] = ()
) -> AsyncIterator[RabbitmqNode]:
    """Run a private RabbitMQ node for the length of the context.

    It listens on loopback only, and disappears with its directory at the end of
    the context or of this process, whichever comes first, even when the process is killed. The end
    is shielded from cancellation and bounded by `CLOSE_TIMEOUT`.

    Args:
        startup_timeout: Seconds until the node must speak AMQP, at this and at every later start.
        config: Further lines of rabbitmq.conf.
        plugins: The plugins that are enabled.

    Yields:
        The node, ready for connections.

    Raises:
        RabbitmqNotInstalledError: RabbitMQ or Erlang is missing; the text says how to install it.
        RabbitmqNodeError: The node did not start. The text ends with the tail of its log.
    """
    installation = find_installation()

    def node() -> RabbitmqNode:
        [epmd_port] = free_ports(1)
        membership = Membership(
            unique_name(), secrets.token_hex(16), epmd_port, config=config, plugins=plugins
        )
        return RabbitmqNode(installation, membership, startup_timeout=startup_timeout)

    async with started(node) as running:
        yield running


class Startable(Protocol):
    """What needs free ports to start."""

    async def start(self) -> None:
        """Start it.

        Raises:
            NodeEndedError: Perhaps because somebody took one of its ports.
        """

    async def close(self) -> None:
        """End it, whatever state it is in."""


@asynccontextmanager
async def started[T: Startable](make: Callable[[], T]) -> AsyncIterator[T]:
    """Start something for the length of the context, with other ports when that fails at first.

    The end is shielded from cancellation and bounded by `CLOSE_TIMEOUT`.

    Args:
        make: Makes it, with ports that are free at the moment.

    Yields:
        The first one that started.

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


def find_installation() -> Installation:
    """Find RabbitMQ where packages put it, or on PATH.

    Raises:
        RabbitmqNotInstalledError: It is missing; the text says how to install it.
    """
    search_path = os.pathsep.join(
        (*PACKAGE_DIRECTORIES, os.environ.get("PATH", os.defpath), *EXTRA_DIRECTORIES)
    )
    server, ctl, epmd, erl = (
        shutil.which(program, path=search_path)
        for program in ("rabbitmq-server", "rabbitmqctl", "epmd", "erl")
    )
    if server is None or ctl is None or epmd is None or erl is None:
        raise RabbitmqNotInstalledError(
            "RabbitMQ is not installed here. Install it with"
            " `apt-get install rabbitmq-server` or `brew install rabbitmq`."
        )
    return Installation(server, ctl, epmd, search_path)


def unique_name() -> str:
    """Return a name that also tells a node's answer from that of another on the same port."""
    return f"sandbox-{secrets.token_hex(6)}"


def free_ports(count: int) -> list[int]:
    """Return loopback ports, all different, that nobody listens on at the moment."""
    # All are held until all are known, so that they differ.
    holders = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports: list[int] = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def _config(port: int) -> str:
    return (
        f"listeners.tcp.1 = {HOST}:{port}\n"
        # The default may be more than what a small machine has free.
        "disk_free_limit.absolute = 50MB\n"
    )


def _environment(
    directory: Path,
    membership: Membership,
    *,
    name: str,
    port: int,
    distribution_port: int,
    search_path: str,
) -> Mapping[str, str]:
    """Write what the node needs, and return the environment in which its commands find it."""
    cookie = directory / ".erlang.cookie"
    cookie.write_text(membership.cookie, encoding="ascii")
    cookie.chmod(0o400)
    advanced_config = directory / "advanced.config"
    advanced_config.write_text(f"{membership.advanced_config}.\n", encoding="ascii")
    plugins = directory / "enabled_plugins"
    plugins.write_text(f"[{','.join(membership.plugins)}].\n", encoding="ascii")
    loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
    # Nothing of another node's configuration, on this machine or in this environment, may leak in.
    inherited = {
        variable: value
        for variable, value in os.environ.items()
        if not variable.startswith(("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"))
    }
    return {
        **inherited,
        "PATH": search_path,
        "HOME": str(directory),  # where Erlang looks for the cookie
        "LC_ALL": "C.UTF-8",
        "ERL_EPMD_PORT": str(membership.epmd_port),
        "ERL_EPMD_ADDRESS": HOST,
        # Whatever starts a virtual machine here would otherwise start an epmd that outlives it.
        "ERL_FLAGS": "-start_epmd false",
        "ERL_CRASH_DUMP_BYTES": "0",
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
        # Makes the script become the virtual machine instead of standing before it with a shell's
        # idea of signals; the second variable is what it would otherwise have passed on.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        "RABBITMQ_CTL_ERL_ARGS": loopback,
        "RABBITMQ_CTL_DIST_PORT_MIN": "0",  # any free port
        "RABBITMQ_CTL_DIST_PORT_MAX": "0",
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_LOGS": "-",  # to stdout, and so into the one log
        "RABBITMQ_CONFIG_FILE": str(directory / _CONFIG),
        "RABBITMQ_CONFIG_FILES": str(directory / "conf.d" / "*.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(advanced_config),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "rabbitmq-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
    }


async def _keep(
    command: tuple[str, ...], *, directory: Path, environment: Mapping[str, str], log: BinaryIO
) -> _Kept:
    # Shielded, because a keeper that nobody knows of could not be ended.
    with trio.move_on_after(_KEEPER_TIMEOUT, shield=True):
        process = await trio.lowlevel.open_process(
            # -P: what the node writes into its directory is not to be imported.
            [
                *(sys.executable, "-P", "-m", keeper.__name__),
                *("--remove", str(directory), "--", *command),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        async with process.stdout:
            reported = b""
            async for received in process.stdout:
                reported += received
                if reported.endswith(b"\n"):
                    return _Kept(process, int(reported))
        await process.wait()
    raise RabbitmqNodeError(f"{command[0]} could not be started")
