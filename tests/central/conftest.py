from collections.abc import Callable

import pytest
import trio

from tests.central.peers import Network


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(trio, "open_tcp_stream", network.open_tcp_stream)
    # A clock that jumps would not see that a thread is at work.
    monkeypatch.setattr(trio.to_thread, "run_sync", call)
    return network


async def call[T](function: Callable[[], T], **_: object) -> T:
    await trio.lowlevel.checkpoint()
    return function()
