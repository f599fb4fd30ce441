import pytest

from tests.central.peers import Network


@pytest.fixture
async def network() -> Network:
    return Network()
