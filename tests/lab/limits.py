"""Limits of a RabbitMQ node, changed while it runs, and back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from tests.lab.rabbitmq_node import RabbitmqNode

_TIMEOUT = 30.0


class Alarm(NamedTuple):
    """A command of rabbitmqctl, the value that raises an alarm, and the one that ends it."""

    command: str
    raising: str
    ending: str


MEMORY = Alarm("set_vm_memory_high_watermark", "0", "0.4")
DISK = Alarm("set_disk_free_limit", "1000000GB", "50MB")


@asynccontextmanager
async def alarmed(node: RabbitmqNode, alarm: Alarm = MEMORY) -> AsyncIterator[None]:
    """Have RabbitMQ run short, so that it stops reading from those who publish."""
    await node.ctl(alarm.command, alarm.raising)
    try:
        yield
    finally:
        # A test that is cancelled leaves the node as it was, too.
        with trio.fail_after(_TIMEOUT, shield=True):
            await node.ctl(alarm.command, alarm.ending)


@asynccontextmanager
async def limited(node: RabbitmqNode, name: str, value: int) -> AsyncIterator[None]:
    """Set a limit for channels and connections that are opened in the meantime."""
    before = int(await node.ctl("eval", f"rabbit_misc:get_env(rabbit, {name}, 0)."))
    await _set(node, name, value)
    try:
        yield
    finally:
        # A test that is cancelled leaves the node as it was, too.
        with trio.fail_after(_TIMEOUT, shield=True):
            await _set(node, name, before)


async def _set(node: RabbitmqNode, name: str, value: int) -> None:
    # RabbitMQ 4 looks it up in the latter place, where it is put at the start.
    await node.ctl(
        "eval",
        f"application:set_env(rabbit, {name}, {value}), persistent_term:put({name}, {value}).",
    )
