import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from anyio.from_thread import start_blocking_portal

from broker.sandbox.broker_process import open_broker
from tests.deploy.image import Image, build_image
from tests.integration.http_client import ask
from tests.lab.debian13 import debian13_tree, rabbitmq_of
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node
from tests.sandbox.programs import free_port

PATIENCE = 60.0
IMAGE_BYTES = 4_000_000_000
"""More than an image takes while it is built; written to a disk, it would take minutes."""
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


@pytest.fixture(scope="session")
def debian13() -> Iterator[Path]:
    """The Debian 13 tree; nobody may write into it."""
    with debian13_tree() as tree:
        yield tree


@pytest.fixture(scope="session")
def rabbitmq4(debian13: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitmqNode]:
    """A RabbitMQ 4.0 node, whatever this machine has."""
    installation = rabbitmq_of(debian13, tmp_path_factory.mktemp("commands"))
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_rabbitmq_node(installation)) as node,
    ):
        yield node


@pytest.fixture(scope="session")
def image(debian13: Path) -> Iterator[Image]:
    """The image, built on a stand-in for its base."""
    for program in ("buildah", "bwrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: buildah, bubblewrap)")
    memory = Path("/dev/shm")  # noqa: S108 - it is what that folder is for
    has_room = memory.exists() and shutil.disk_usage(memory).free > IMAGE_BYTES
    # Not a folder of pytest, which would keep it.
    with tempfile.TemporaryDirectory(
        prefix="image-", dir=memory if has_room else None
    ) as directory:
        yield build_image(debian13, Path(directory))
