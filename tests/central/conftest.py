import pytest
import trio

from tests.central.peers import Network


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(trio, "open_tcp_stream", network.open_tcp_stream)
    return network
