import asyncio
import gc
from collections.abc import Iterator

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.amqp import Rabbit
from tests.amqp.rig import Rig
from tests.lab.rabbitmq_node import RabbitmqNode

LEFTOVER_TIMEOUT = 5.0


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """An asyncio event loop in a thread, left without a running task or an unseen exception."""
    complaints: list[str] = []

    def listen() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(str(context))
        )

    async def leftovers(own: set[asyncio.Task[object]]) -> list[str]:
        tasks = asyncio.all_tasks() - own - {asyncio.current_task()}
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=LEFTOVER_TIMEOUT)
        gc.collect()
        return [str(task) for task in tasks]

    async def own_tasks() -> set[asyncio.Task[object]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    gc.freeze()  # looking through all that was there before takes long
    try:
        with start_blocking_portal("asyncio") as portal:
            portal.call(listen)
            own = portal.call(own_tasks)
            yield portal
            assert portal.call(leftovers, own) == []
    finally:
        gc.unfreeze()
    assert complaints == []


@pytest.fixture
def rabbit(portal: BlockingPortal) -> Rabbit:
    return Rabbit(portal)


@pytest.fixture
def rig(portal: BlockingPortal, rabbitmq: RabbitmqNode) -> Rig:
    return Rig.of(portal, rabbitmq.url)
