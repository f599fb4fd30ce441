"""The image as it is built and run, with nothing but what the Dockerfile says.

The tests that share an image run in one worker.
"""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.metadata import distributions
from pathlib import Path
from time import perf_counter

import pytest
import trio

from broker.version import __version__
from tests.deploy.container import Container, open_container
from tests.deploy.image import REVISION, VERSION, Image
from tests.deploy.repository import DEFAULTS, ROOT
from tests.integration.http_client import until_answered
from tests.integration.rig import Rig, bring_online, ids, text
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.programs import free_port

pytestmark = [pytest.mark.exhaustive, pytest.mark.xdist_group("image")]

MOST_ADDED_BYTES = 60_000_000
GRACE_PERIOD = 30
"""Seconds between SIGTERM and SIGKILL in compose.yaml and, at least, in Kubernetes."""
LOAD = 6_000
PACKAGES = "opt/broker/lib/python3.*/site-packages"

type Record = Callable[[str, object], None]


class Running:
    """The broker in a container, which serves its status on a port."""

    def __init__(self, container: Container, port: int, check: Sequence[str]) -> None:
        self.container = container
        self.port = port
        self._check = check

    async def health(self) -> int:
        """Check its health as an engine does."""
        return (await self.container.execute(*self._check)).returncode


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        yield server


@pytest.fixture
def rig(rabbitmq4: RabbitmqNode, tmp_path: Path) -> Rig:
    return Rig(rabbitmq4, tmp_path)


@asynccontextmanager
async def running(image: Image, rig: Rig, server: CentralServer) -> AsyncIterator[Running]:
    port = free_port()
    settings = rig.settings(server.url, BROKER_HTTP_PORT=str(port), BROKER_LOG_LEVEL="info")
    recipe = image.recipe(environment=settings)
    async with open_container(recipe, rig.directory) as container:
        await rig.logged("http_listening")
        yield Running(container, port, image.health_check)


def test_it_says_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.revision"] == REVISION
    assert image.config["ExposedPorts"] == {f"{DEFAULTS.broker_http_port}/tcp": {}}
    assert image.config["StopSignal"] == "SIGTERM"


def test_its_layers_are_small(image: Image, record_property: Record) -> None:
    record_property("layers of the image above its base", f"{image.added_bytes / 1e6:.1f} MB")
    assert image.added_bytes <= MOST_ADDED_BYTES
    assert not list((image.root / "opt/broker").rglob("site-packages/pip"))


def test_the_bill_of_materials_names_what_is_in_it(image: Image) -> None:
    printed = subprocess.run(
        [ROOT / "scripts" / "sbom"], capture_output=True, check=True, timeout=600
    ).stdout
    components = json.loads(printed)["components"]
    installed = {
        (distribution.name.lower().replace("_", "-"), distribution.version)
        for distribution in distributions(path=[str(*image.root.glob(PACKAGES))])
    }
    named = {(component["name"].lower(), component["version"]) for component in components}
    assert installed == named | {("agent-broker", __version__)}


async def test_it_routes_and_needs_nothing(
    image: Image, rig: Rig, server: CentralServer, record_property: Record
) -> None:
    agents = bring_online(server)
    start = perf_counter()
    async with running(image, rig, server) as broker:
        await until_answered(broker.port, "/readyz", 200)
        record_property("start of a container until it is ready", f"{perf_counter() - start:.2f} s")
        await rig.publish(rig.input, text(1, agents[0]))
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
        assert await broker.health() == 0

        status = status_of(broker.container.first_process)
        assert status["NSpid"][-1] == "1"
        assert status["Uid"] == status["Gid"] == ["65532"] * 4
        assert status["Groups"] == []
        for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[kind][0], 16) == 0
        log = rig.directory / "broker.log"
        assert opened_for_writing(broker.container.first_process) <= {log}
        refused = await broker.container.execute("touch", "/etc/broker/file", "/opt/file")
        assert refused.stderr.count("Read-only file system") == 2
        assert await broker.container.stop(GRACE_PERIOD) == 0
    assert {line["level"] for line in rig.log()} == {"info"}


async def test_a_broker_that_hangs_is_unhealthy(
    image: Image, rig: Rig, server: CentralServer
) -> None:
    async with running(image, rig, server) as broker:
        assert await broker.health() == 0
        os.kill(broker.container.first_process, signal.SIGSTOP)
        assert await broker.health() == 1
        os.kill(broker.container.first_process, signal.SIGCONT)
        await eventually(broker.health, "healthy again", until=lambda code: code == 0)


async def test_a_stop_under_load_loses_nothing(
    image: Image, rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    load = [text(number, agents[0]) for number in range(LOAD)]
    async with running(image, rig, server) as broker:
        await rig.logged("routing_started")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.publish, rig.input, *load)
            await eventually(lambda: rig.ready(rig.output))
            assert await broker.container.stop(GRACE_PERIOD) == 0
    await eventually(lambda: rig.ready(rig.input, rig.output), until=lambda count: count == LOAD)
    waiting = ids(await rig.take_all(rig.input))
    routed = ids(await rig.take_all(rig.output))
    assert waiting, "the stop came too late to show anything"
    assert routed + waiting == [f"m-{number}" for number in range(LOAD)]
    assert [line["graceful"] for line in await rig.logged("broker_stopped")] == [True]


def status_of(process: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


def opened_for_writing(process: int) -> set[Path]:
    """Find the regular files that a process may write by a descriptor."""
    found = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            flags = Path(f"/proc/{process}/fdinfo/{descriptor.name}").read_text()
            is_written = int(flags.split("flags:")[1].split()[0], 8) & os.O_ACCMODE != os.O_RDONLY
            if is_written and descriptor.is_file():
                found.add(descriptor.readlink())
    return found
