import asyncio
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.amqp import Rabbit, SessionParameters
from broker.net.endpoints import parse_amqp_urls
from tests.lab.amqp_client import AmqpClient
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

    with start_blocking_portal("asyncio") as portal:
        portal.call(listen)
        own = portal.call(own_tasks)
        yield portal
        assert portal.call(leftovers, own) == []
    assert complaints == []


@pytest.fixture
def rabbit(portal: BlockingPortal) -> Rabbit:
    return Rabbit(portal)


@dataclass(frozen=True)
class Queues:
    """Names that no other test uses."""

    input: str
    output: str
    parked: str


@pytest.fixture
def queues() -> Queues:
    number = uuid4().hex[:8]
    return Queues(f"input-{number}", f"output-{number}", f"parked-{number}")


@pytest.fixture
def raw(rabbitmq: RabbitmqNode) -> AmqpClient:
    return AmqpClient(rabbitmq.url)


@pytest.fixture
def parameters(rabbitmq: RabbitmqNode, queues: Queues) -> SessionParameters:
    (endpoint,) = parse_amqp_urls(rabbitmq.url)
    return SessionParameters(
        endpoint, name="test", queues=(queues.input, queues.output, queues.parked)
    )
