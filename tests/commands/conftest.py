from collections.abc import AsyncIterator

import pytest
from anyio.from_thread import start_blocking_portal

from broker.sandbox.rabbitmq import RabbitmqNode
from tests.commands.mailroom import Mailroom


@pytest.fixture
async def mailroom(rabbitmq: RabbitmqNode) -> AsyncIterator[Mailroom]:
    with start_blocking_portal("asyncio") as portal:
        mailroom = Mailroom(rabbitmq, portal)
        await mailroom.open()
        yield mailroom


@pytest.fixture
async def fragile_mailroom(fragile_node: RabbitmqNode) -> AsyncIterator[Mailroom]:
    with start_blocking_portal("asyncio") as portal:
        mailroom = Mailroom(fragile_node, portal)
        await mailroom.open()
        yield mailroom
