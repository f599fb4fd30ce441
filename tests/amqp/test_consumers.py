import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

from broker.amqp.consumers import Consumers
from broker.amqp.wire.errors import AmqpError


class RefusingConnection:
    """Cannot be opened, and closes in one turn of the event loop."""

    async def open(self) -> None:
        raise AmqpError("no connection")

    async def close(self) -> None:
        pass


async def close_while_a_connection_closes() -> None:
    parameters: Any = SimpleNamespace(fanouts=(), prefetch=1)
    consumers = Consumers(
        lambda _: cast("Any", RefusingConnection()), parameters, cast("Any", None), lambda _: None
    )
    try:
        await consumers.get("queue")
    except AmqpError:
        # Its turn comes when the connection has closed, and nobody has been told so yet.
        await asyncio.create_task(consumers.close())


def test_the_end_does_not_wait_for_a_connection_that_has_just_closed() -> None:
    # In a thread, as an event loop that never takes another turn knows no timeout, either.
    thread = threading.Thread(
        target=asyncio.run, args=(close_while_a_connection_closes(),), daemon=True
    )
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
