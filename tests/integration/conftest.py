from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.rig import Rig
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        yield server


@pytest.fixture
def rig(rabbitmq: RabbitmqNode, tmp_path: Path) -> Rig:
    return Rig(rabbitmq, tmp_path)
