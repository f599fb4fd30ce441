import pytest
import trio

from tests.central.opening import Peer
from tests.central.peers import Network


@pytest.fixture
async def network() -> Network:
    return Network()


@pytest.fixture
def peer(network: Network, nursery: trio.Nursery) -> Peer:
    return Peer(network, nursery)
