"""Queues of one's own, filled and emptied from outside, and commands run as people run them."""

import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import uuid4

import trio
from pamqp.commands import Basic
from pamqp.common import FieldValue

from broker.sandbox.broker_process import COMMAND
from tests.cli.commands import PATIENCE, Ran, run_command
from tests.lab.amqp_client import AmqpClient
from tests.lab.amqp_connection import Message
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode


class Mailroom:
    """The queues of one test."""

    def __init__(self, node: RabbitmqNode) -> None:
        number = uuid4().hex[:8]
        self.node = node
        self.raw = AmqpClient(node.url)
        self.input = f"input-{number}"
        self.metadata = f"metadata-{number}"
        self.dead_letter = f"dead-letter-{number}"
        self.settings = {
            "AMQP_URL": node.url,
            "BROKER_INPUT_QUEUE": self.input,
            "BROKER_METADATA_QUEUE": self.metadata,
            "BROKER_DEAD_LETTER_QUEUE": self.dead_letter,
        }

    async def open(self) -> Self:
        for queue in (self.input, self.metadata, self.dead_letter):
            await self.raw.declare(queue)
        return self

    async def park(
        self, *bodies: bytes, age: timedelta = timedelta(), **headers: FieldValue
    ) -> None:
        """Put dead letters into the queue, with headers that differ from usual ones."""
        await self.put(self.headers(age, **headers), *bodies)

    def headers(self, age: timedelta = timedelta(), **headers: FieldValue) -> dict[str, FieldValue]:
        usual: dict[str, FieldValue] = {
            "x_broker_reason": "invalid_json",
            "x_broker_error": "the body is no JSON",
            "x_original_queue": self.input,
            "x_broker_id": "broker-1",
            "x_dead_lettered_at": (datetime.now(UTC) - age).isoformat(timespec="milliseconds"),
        }
        return {name.replace("_", "-"): value for name, value in {**usual, **headers}.items()}

    async def put(self, headers: dict[str, FieldValue], *bodies: bytes) -> None:
        properties = Basic.Properties(delivery_mode=2, headers=headers, correlation_id="c-1")
        await self.raw.publish(self.dead_letter, *bodies, properties=properties)

    async def take(self, queue: str) -> list[Message]:
        """Take all that is ready in a queue."""
        return await self.raw.take(queue, await self.raw.ready(queue))

    def environment(self, **settings: str) -> dict[str, str]:
        return {**os.environ, **self.settings, **settings}

    async def run(self, *arguments: str, **settings: str) -> Ran:
        environment = self.environment(**settings)
        return await run_command(*arguments, environment=environment, directory=self.node.directory)

    async def failure(self, *arguments: str, out: str = "", **settings: str) -> str:
        """Run a command that fails, and return the one line that says why."""
        ran = await self.run(*arguments, **settings)
        assert (ran.code, ran.out) == (1, out)
        [line] = ran.err.splitlines()
        return line

    @asynccontextmanager
    async def running(
        self,
        *arguments: str,
        command: Sequence[str] = COMMAND,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> AsyncIterator[trio.Process]:
        """Run a command in a process of its own, killed at the end of the context."""
        process = await trio.lowlevel.open_process(
            [*command, *arguments],
            env=self.environment(),
            cwd=self.node.directory,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            with trio.fail_after(PATIENCE):
                yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def holds(self, queue: str, least: int) -> None:
        """Wait until so many messages are ready in a queue."""
        await eventually(
            lambda: self.raw.ready(queue), until=lambda ready: ready >= least, within=PATIENCE
        )

    async def list(self, *arguments: str) -> list[dict[str, Any]]:
        ran = await self.run("dead-letters", "list", "--format", "json", *arguments)
        assert (ran.code, ran.err) == (0, "")
        found: list[dict[str, Any]] = ran.document
        return found


async def ended(process: trio.Process) -> Ran:
    """Wait for the end of a process that says little."""
    code = await process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    out = b"".join([some async for some in process.stdout])
    err = b"".join([some async for some in process.stderr])
    assert b"Traceback" not in err
    return Ran(code, out.decode(), err.decode())


def full_properties(**differences: Any) -> Basic.Properties:
    """Return nearly every property, and those that are given."""
    names = ("content_type", "correlation_id", "reply_to", "message_id", "message_type", "app_id")
    usual = {name: f"the {name}" for name in names}
    more = {"content_encoding": "gzip", "priority": 7, "user_id": "guest"}
    return Basic.Properties(**{**usual, **more, **differences})


def bodies(messages: Sequence[Message]) -> list[bytes]:
    return [message.body for message in messages]
