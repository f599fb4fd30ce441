import pytest
import trio

from broker.core.messages import BrokerRegistered
from tests.central.session_rig import Rig
from tests.lab.websocket_peers import Attempt, Peer, Server, start


@pytest.fixture
async def peer(nursery: trio.Nursery) -> Peer:
    return Peer(nursery)


@pytest.fixture
async def rig(nursery: trio.Nursery) -> Rig:
    return Rig(nursery)


@pytest.fixture
def attempt(rig: Rig) -> Attempt:
    """The session, which has begun."""
    return start(rig.nursery, rig.run)


@pytest.fixture
async def stranger(attempt: Attempt, rig: Rig) -> Server:
    """The server of the session. It has accepted the WebSocket and read nothing."""
    del attempt
    return await rig.serve()


@pytest.fixture
async def server(stranger: Server, rig: Rig) -> Server:
    """The server of the session, with which the broker has registered."""
    await stranger.register()
    assert await rig.heard() == [BrokerRegistered("named")]
    return stranger
