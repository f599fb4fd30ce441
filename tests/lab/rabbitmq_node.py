"""A private RabbitMQ node that tests stop, freeze, configure and command."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import trio

from broker.sandbox import rabbitmq
from broker.sandbox.kept_process import KeptProcess
from broker.sandbox.rabbitmq_errors import RabbitmqNodeError
from broker.sandbox.rabbitmq_files import (
    ADVANCED_CONFIG,
    CONFIG,
    PLUGINS,
    Membership,
    lone_member,
)
from broker.sandbox.rabbitmq_installation import Installation, find_installation
from tests.lab.erlang_call import as_erlang, find_erl_call, unquoted

_STOP_TIMEOUT = 30.0
"""Seconds a graceful stop may take before it becomes a kill."""
_ENVIRONMENT = "rabbitmq-env.conf"
_ONE_SCHEDULER = 'RABBITMQ_SERVER_START_ARGS="$RABBITMQ_SERVER_START_ARGS +S 1:1 +SDcpu 1:1"\n'
"""Schedulers that look for work in each other's queues cost a quarter more for the same work."""
_CTL_TIMEOUT = 180.0
"""Seconds one rabbitmqctl command may take: each starts an Erlang virtual machine."""


class RabbitmqNode(rabbitmq.RabbitmqNode):
    """A node with further lines of rabbitmq.conf, an Erlang term of its own, and plugins.

    Args:
        inside: What comes before each command, so that it runs on another host.
    """

    def __init__(
        self,
        installation: Installation,
        membership: Membership,
        *,
        startup_timeout: float = 60,
        config: str = "",
        advanced_config: str = "[]",
        plugins: tuple[str, ...] = (),
        is_thrifty: bool = False,
        inside: Sequence[str] = (),
    ) -> None:
        super().__init__(installation, membership, startup_timeout=startup_timeout)
        with (self.directory / CONFIG).open("a", encoding="ascii") as file:
            file.write(config)
        (self.directory / ADVANCED_CONFIG).write_text(f"{advanced_config}.\n", encoding="ascii")
        (self.directory / PLUGINS).write_text(f"[{','.join(plugins)}].\n", encoding="ascii")
        if is_thrifty:
            (self.directory / _ENVIRONMENT).write_text(_ONE_SCHEDULER, encoding="ascii")
        self._inside = inside

    async def stop(self) -> None:
        """Stop the node gracefully (SIGTERM); one that takes too long is killed."""
        if self._server is None:
            return
        self._server.signal(signal.SIGTERM)
        self._server.signal(signal.SIGCONT)  # a paused node sees SIGTERM only once continued
        with trio.move_on_after(_STOP_TIMEOUT):
            await self._server.wait()
        await self.kill()

    async def pause(self) -> None:
        """Freeze the node (SIGSTOP): its connections stay open and nobody answers."""
        await self._send(signal.SIGSTOP)

    async def resume(self) -> None:
        await self._send(signal.SIGCONT)

    async def ctl(self, *arguments: str, within: float = _CTL_TIMEOUT) -> str:
        """Do what rabbitmqctl does, and return what it writes to stdout; ends it when cancelled.

        Raises:
            RabbitmqNodeError: It failed, or took longer than so many seconds.
        """
        expression = as_erlang(*arguments)
        erl_call = find_erl_call(self._installation.search_path)
        with trio.move_on_after(within):
            if expression is None or erl_call is None:
                return await self._run(arguments[0], self._installation.ctl, "--quiet", *arguments)
            said = await self._run(
                *(arguments[0], erl_call, "-name" if self._inside else "-sname", self.name),
                # Under its usual name a caller is refused while the node knows another of it.
                *("-h", f"caller-{uuid4().hex}", "-c", self._membership.cookie, "-e"),
                stdin=f"{expression}\n",
            )
            value = said.removeprefix("{ok, ").removesuffix("}")
            if value == said or value.startswith("{error"):
                raise RabbitmqNodeError(f"rabbitmqctl {arguments[0]} failed: {said}")
            return unquoted(value)
        raise RabbitmqNodeError(f"rabbitmqctl {arguments[0]} took more than {within:g} s")

    async def _keep(self, *command: str) -> KeptProcess:
        return await super()._keep(*self._inside, *command)

    async def _run(self, name: str, *command: str, stdin: str = "") -> str:
        completed = await trio.run_process(
            (*self._inside, *command),
            env=self._environment,
            cwd=self.directory,
            stdin=stdin.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        if completed.returncode != 0:
            said = (completed.stderr + completed.stdout).decode(errors="replace").strip()
            raise RabbitmqNodeError(f"rabbitmqctl {name} failed ({completed.returncode}): {said}")
        return completed.stdout.decode(errors="replace")

    async def _send(self, number: signal.Signals) -> None:
        if self._server is not None:
            self._server.signal(number)
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_rabbitmq_node(
    installation: Installation | None = None,
    *,
    startup_timeout: float = 60,
    config: str = "",
    plugins: tuple[str, ...] = (),
    is_thrifty: bool = False,
) -> AsyncIterator[RabbitmqNode]:
    """Run a node as the sandbox does.

    Args:
        is_thrifty: Whether it is to take less of the processor, and be no faster on several cores.
    """
    found = installation or find_installation()

    def make() -> RabbitmqNode:
        return RabbitmqNode(
            found,
            lone_member(),
            startup_timeout=startup_timeout,
            config=config,
            plugins=plugins,
            is_thrifty=is_thrifty,
        )

    async with rabbitmq.started(make) as node:
        yield node
