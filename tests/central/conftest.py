import pytest
import trio

from broker.core.messages import BrokerRegistered
from tests.central.opening import Peer
from tests.central.session_rig import Rig
from tests.lab.websocket_peers import Attempt, Network, Server, start


@pytest.fixture
async def network() -> Network:
    return Network()


@pytest.fixture
def peer(network: Network, nursery: trio.Nursery) -> Peer:
    return Peer(network, nursery)


@pytest.fixture
def rig(network: Network) -> Rig:
    return Rig(network)


@pytest.fixture
def attempt(rig: Rig, nursery: trio.Nursery) -> Attempt:
    """The session, which has begun."""
    return start(nursery, rig.run)


@pytest.fixture
async def stranger(attempt: Attempt, network: Network, nursery: trio.Nursery) -> Server:
    """The server of the session. It has accepted the WebSocket and read nothing."""
    del attempt
    return await network.serve(nursery)


@pytest.fixture
async def server(stranger: Server, rig: Rig) -> Server:
    """The server of the session, with which the broker has registered."""
    await stranger.register()
    assert await rig.heard() == [BrokerRegistered("named")]
    return stranger
