"""Limits of a RabbitMQ node, changed while it runs."""

from broker.sandbox.rabbitmq import RabbitmqNode


async def set_limit(node: RabbitmqNode, name: str, value: int) -> None:
    """Set a limit for channels and connections that are opened from now on."""
    # RabbitMQ 4 looks it up in the latter place, where it is put at the start.
    await node.ctl(
        "eval",
        f"application:set_env(rabbit, {name}, {value}), persistent_term:put({name}, {value}).",
    )
