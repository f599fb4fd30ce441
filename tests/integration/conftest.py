from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from broker.sandbox.central_server import CentralServer, open_central_server
from broker.sandbox.rabbitmq import RabbitmqNode, open_rabbitmq_node
from tests.integration.rig import Rig, open_rig


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        yield server


@pytest.fixture
async def rig(rabbitmq: RabbitmqNode, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(rabbitmq, tmp_path) as rig:
        yield rig


@pytest.fixture(scope="module")
def fragile_node() -> Iterator[RabbitmqNode]:
    """A node that a module's tests may stop; each leaves it running."""
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_rabbitmq_node()) as node,
    ):
        yield node


@pytest.fixture
async def fragile_rig(fragile_node: RabbitmqNode, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(fragile_node, tmp_path) as rig:
        yield rig
