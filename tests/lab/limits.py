"""Limits of a RabbitMQ node, changed while it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.lab.rabbitmq_node import RabbitmqNode


@asynccontextmanager
async def limited(node: RabbitmqNode, name: str, value: int) -> AsyncIterator[None]:
    """Set a limit for channels and connections that are opened in the meantime."""
    before = int(await node.ctl("eval", f"rabbit_misc:get_env(rabbit, {name}, 0)."))
    await _set(node, name, value)
    try:
        yield
    finally:
        await _set(node, name, before)


async def _set(node: RabbitmqNode, name: str, value: int) -> None:
    # RabbitMQ 4 looks it up in the latter place, where it is put at the start.
    await node.ctl(
        "eval",
        f"application:set_env(rabbit, {name}, {value}), persistent_term:put({name}, {value}).",
    )
