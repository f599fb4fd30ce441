from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker.sandbox.free_ports import free_ports
from tests.cli.mailroom import Mailroom
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node
from tests.settings.surroundings import clear_surroundings


@pytest.fixture(autouse=True)
def clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no setting from outside, and room for the help."""
    clear_surroundings(monkeypatch, tmp_path)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # it hides what fails at exit
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal("asyncio") as portal:
        yield portal


@pytest.fixture
async def mailroom(rabbitmq: RabbitmqNode) -> Mailroom:
    return await Mailroom(rabbitmq).open()


class ManagedNode(NamedTuple):
    node: RabbitmqNode
    url: str


@pytest.fixture(scope="session")
def managed() -> Iterator[ManagedNode]:
    [port] = free_ports(1)
    config = f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n"
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(
            open_rabbitmq_node(config=config, plugins=("rabbitmq_management",))
        ) as node,
    ):
        yield ManagedNode(node, f"http://127.0.0.1:{port}")
