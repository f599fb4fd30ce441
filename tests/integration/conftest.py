from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.rig import Rig, open_rig
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        yield server


@pytest.fixture
async def rig(rabbitmq: RabbitmqNode, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(rabbitmq, tmp_path) as rig:
        yield rig


@pytest.fixture
async def fragile_rig(fragile_node: RabbitmqNode, tmp_path: Path) -> AsyncIterator[Rig]:
    async with open_rig(fragile_node, tmp_path) as rig:
        yield rig
