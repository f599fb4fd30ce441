from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from anyio.from_thread import start_blocking_portal

from broker.sandbox.broker_process import open_broker
from tests.integration.http_client import ask
from tests.sandbox.programs import free_port

PATIENCE = 60.0
NOWHERE = {"AMQP_URL": "amqp://127.0.0.1:1/", "WEBSOCKET_URL": "ws://127.0.0.1:1/ws"}

type Get = Callable[[str], tuple[int, str]]


@asynccontextmanager
async def open_endpoint(directory: Path) -> AsyncIterator[int]:
    port = free_port()
    async with open_broker(directory, {**NOWHERE, "BROKER_HTTP_PORT": str(port)}) as broker:
        with trio.fail_after(PATIENCE):
            while "http_listening" not in broker.log.read_text():
                await trio.sleep(0.05)
        yield port


@pytest.fixture(scope="session")
def get(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    """Ask a real broker, without peers, over HTTP."""
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_endpoint(tmp_path_factory.mktemp("broker"))) as port,
    ):
        yield lambda path: ask(port, path)
