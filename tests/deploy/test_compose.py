"""compose.yaml as `docker compose up` would run it, without an engine.

Each service is a container with the command and the environment that the file says, in a network
of their own. RabbitMQ's image is not downloaded: the RabbitMQ 4.0 of Debian 13 stands in for it.
"""

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import yaml
from playwright.sync_api import expect

from tests.deploy.container import Container, Recipe, open_container, open_network
from tests.deploy.image import Image
from tests.deploy.repository import ROOT, read
from tests.lab.eventually import eventually
from tests.sandbox.programs import Program
from tests.status.page.acting import rows_of
from tests.status.page.chromium import open_chromium, open_page

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("image")]

SERVICES: Mapping[str, Mapping[str, Any]] = yaml.safe_load(read("compose.yaml"))["services"]
ADDRESSES = {name: f"127.0.0.{number}" for number, name in enumerate(SERVICES, start=2)}
RABBITMQ_DATA = "/var/lib/rabbitmq"
RABBITMQ_ENVIRONMENT = {
    "PATH": "/usr/lib/rabbitmq/bin:/usr/bin:/bin",
    "HOME": RABBITMQ_DATA,
    "LC_ALL": "C.UTF-8",
    "RABBITMQ_LOGS": "-",
    "RABBITMQ_MNESIA_BASE": f"{RABBITMQ_DATA}/mnesia",
    "RABBITMQ_LOG_BASE": f"{RABBITMQ_DATA}/log",
    "RABBITMQ_ENABLED_PLUGINS_FILE": f"{RABBITMQ_DATA}/enabled_plugins",
}
START_TIMEOUT = 180.0


class Stack:
    """The services that run. Each finds the others by their names."""

    def __init__(
        self, image: Image, debian13: Path, directory: Path, stack: AsyncExitStack
    ) -> None:
        self._image = image
        self._debian13 = debian13
        self._directory = directory
        self._stack = stack
        self._network: int | None = None
        self.containers: dict[str, Container] = {}

    async def start(self, name: str) -> Program:
        """Start a service, and wait for those that it depends on."""
        service = SERVICES[name]
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            await self.healthy(other)
        directory = self._directory / name
        directory.mkdir()
        if self._network is None:
            self._network = await self._stack.enter_async_context(open_network(self._directory))
        is_ours = name != "rabbitmq"
        recipe = self._ours(name, service) if is_ours else self._rabbitmq(service)
        opening = open_container(recipe, directory)
        self.containers[name] = await self._stack.enter_async_context(opening)
        return Program(self.containers[name].process)

    async def healthy(self, name: str) -> None:
        container = self.containers[name]
        kind, *check = (
            SERVICES[name].get("healthcheck", {}).get("test", ("CMD", *self._image.health_check))
        )
        assert kind == "CMD"

        async def code() -> int:
            return (await container.execute(*check)).returncode

        await eventually(
            code, f"{name} is healthy", until=lambda code: code == 0, within=START_TIMEOUT
        )

    async def stop(self, name: str) -> int:
        return await self.containers[name].stop(seconds(SERVICES[name]["stop_grace_period"]))

    async def see(self, look: Callable[[], None]) -> None:
        """Call something in the services' network, where ports are those that get published."""

        def enter() -> None:
            with Path(f"/proc/{self._network}/ns/net").open("rb") as network:
                os.setns(network.fileno(), os.CLONE_NEWNET)  # for this thread alone

        with ThreadPoolExecutor(max_workers=1, initializer=enter) as thread:
            await trio.to_thread.run_sync(thread.submit(look).result)

    def _ours(self, name: str, service: Mapping[str, Any]) -> Recipe:
        assert service["image"] == "agent-broker"
        entrypoint = service.get("entrypoint", self._image.config["Entrypoint"])
        return self._image.recipe(
            environment=environment_of(service),
            command=(*entrypoint, *service.get("command", ())),
            **self._surroundings(name),
        )

    def _rabbitmq(self, service: Mapping[str, Any]) -> Recipe:
        data = self._directory / "data"
        data.mkdir()
        (data / "enabled_plugins").write_text("[rabbitmq_management].\n")
        assert service["image"] == "rabbitmq:4-management"
        assert service["volumes"] == [f"rabbitmq:{RABBITMQ_DATA}"]
        return Recipe(
            self._debian13,
            ("rabbitmq-server",),
            environment={**RABBITMQ_ENVIRONMENT, **environment_of(service)},
            writable={data: RABBITMQ_DATA},
            **self._surroundings(service["hostname"]),
        )

    def _surroundings(self, hostname: str) -> dict[str, Any]:
        return {"hostname": hostname, "hosts": ADDRESSES, "network": self._network}


def alice_and_bob_are_on_the_page() -> None:
    with open_chromium() as browser, open_page(browser, "http://127.0.0.1:9780/") as page:
        for name in ("Alice", "Bob"):
            expect(rows_of(page).filter(has_text=name)).to_contain_text("Online")
        expect(page.locator("#agents-note")).to_have_text("1\u20132 of 2 known")


def environment_of(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service["environment"].items()}


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


@pytest.fixture
async def stack(image: Image, debian13: Path, tmp_path: Path) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as exits:
        yield Stack(image, debian13, tmp_path, exits)


def test_it_keeps_to_the_compose_specification() -> None:
    prepared = (ROOT / "scripts" / "environment", ".venv-deploy", "requirements/deploy.txt")
    subprocess.run(prepared, check=True, timeout=600, capture_output=True)
    command = (".venv-deploy/bin/python", "-m", "check_jsonschema")
    done = subprocess.run(
        (*command, "--builtin-schema", "vendor.compose-spec", "compose.yaml"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


async def test_alice_and_bob_talk_and_the_page_shows_it(stack: Stack) -> None:
    _, server, alice, bob = [
        await stack.start(name) for name in ("rabbitmq", "server", "alice", "bob")
    ]
    assert set(SERVICES) == {"rabbitmq", "server", "broker", "alice", "bob"}
    await server.logged("amqp_lost")  # nothing but the broker waits for RabbitMQ
    broker = await stack.start("broker")
    ready = await broker.logged("ready")
    assert ready["product"].startswith("RabbitMQ 4."), ready

    question = await bob.logged("received", message_type="TEXT", sender_id="alice")
    await alice.logged("sent", message_type="TEXT", message_id=question["message_id"])
    answer = await alice.logged("received", message_type="REPLY", sender_id="bob")
    await bob.logged("sent", message_type="REPLY", message_id=answer["message_id"])
    await bob.logged("received", message_type="REPLY", sender_id="alice")

    await stack.healthy("broker")
    await stack.see(alice_and_bob_are_on_the_page)
    for name in ("bob", "alice", "broker", "server", "rabbitmq"):
        assert await stack.stop(name) == 0, name
