"""The unit, run by a real systemd, does what it and docs/operations.md promise."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from broker.telemetry.one_line import WRONG_USAGE
from tests.deploy.systemd import Machine, missing, open_machine
from tests.integration.http_client import get
from tests.integration.rig import Rig, bring_online, ids, text
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.sandbox.programs import free_port

LOAD = 3_000
USER, OLD, NEW = "unit", "0ld-c4nary", "n3w-c4nary"

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(missing() is not None, reason=missing() or ""),
]


@pytest.fixture
async def server() -> AsyncIterator[CentralServer]:
    async with open_central_server() as server:
        yield server


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with open_machine(tmp_path) as machine:
        yield machine


@pytest.fixture
def rig(rabbitmq: RabbitmqNode, machine: Machine) -> Rig:
    return Rig(rabbitmq, machine.log.parent)


async def start(machine: Machine, rig: Rig, server: CentralServer, **settings: str) -> int:
    """Configure the broker as the document says, and start it; return its HTTP port."""
    port = free_port()
    given = rig.settings(server.url, BROKER_HTTP_PORT=str(port), **settings)
    machine.write("amqp-url", f"{given.pop('AMQP_URL')}\n")
    machine.configure(given)
    await machine.systemctl("start", "broker")
    await rig.logged("routing_started")
    return port


async def test_it_routes_and_may_do_nothing_else(
    machine: Machine, rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    port = await start(machine, rig, server)
    await rig.publish(rig.input, text(1, agents[0]))
    assert ids(await rig.take(rig.output, 1)) == ["m-1"]

    [pid] = await machine.show("MainPID")
    status = machine.process_status(pid)
    assert status["Name"] == "broker"
    assert set(status["Uid"].split()) != {"0"}
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    # What the unit leaves open, and why.
    assert "process_start_time_seconds " in (await get(port, "/metrics"))[1]


async def test_a_stop_under_load_settles_everything(
    machine: Machine, rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    await start(machine, rig, server, BROKER_LOG_LEVEL="info")
    async with trio.open_nursery() as nursery:
        load = [text(number, agents[0]) for number in range(LOAD)]
        nursery.start_soon(partial(rig.publish, rig.input, *load))
        await eventually(partial(rig.ready, rig.output), "messages are routed")
        await machine.systemctl("stop", "broker")
    assert await machine.show("ActiveState", "Result", "ExecMainStatus") == [
        *("inactive", "success", "0")
    ]
    both = partial(rig.ready, rig.input, rig.output)
    await eventually(both, "all are there", until=LOAD.__eq__)
    waiting, routed = await rig.take_all(rig.input), await rig.take_all(rig.output)
    assert ids(routed) + ids(waiting) == [f"m-{number}" for number in range(LOAD)]


async def test_a_hangup_stops_it_for_good(
    machine: Machine, rig: Rig, server: CentralServer
) -> None:
    await start(machine, rig, server)
    assert "not applicable" in await machine.systemctl("reload", "broker", check=False)
    await machine.systemctl("kill", "--signal=HUP", "broker")
    await machine.until(ActiveState="inactive", Result="success", NRestarts="0")
    assert [line["graceful"] for line in await rig.logged("broker_stopped")] == [True]


async def test_it_is_started_again_when_it_is_killed(
    machine: Machine, rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server)
    await start(machine, rig, server)
    await machine.systemctl("kill", "--signal=KILL", "broker")
    await machine.until(NRestarts="1", ActiveState="active")
    await rig.publish(rig.input, text(1, agents[0]))
    assert ids(await rig.take(rig.output, 1)) == ["m-1"]


async def test_a_wrong_configuration_is_not_tried_again(machine: Machine) -> None:
    machine.write("amqp-url", "amqp://127.0.0.1:1/\n")
    machine.configure({"BROKER_PREFETCH": "many"})
    await machine.systemctl("start", "broker")
    await machine.until(
        ActiveState="failed", ExecMainStatus=str(WRONG_USAGE), Result="exit-code", NRestarts="0"
    )
    assert "BROKER_PREFETCH must be" in machine.log.read_text()


async def test_a_missing_secret_is_named(machine: Machine) -> None:
    machine.configure({})
    said = await machine.systemctl("start", "broker", check=False)
    assert "failed" in said.lower()
    assert (await machine.show("Result", "ExecMainStatus")) == ["exit-code", "243"]


async def test_a_rotated_secret_counts_from_the_next_start(
    machine: Machine, rig: Rig, server: CentralServer
) -> None:
    node = rig.node
    await node.ctl("add_user", USER, OLD)
    await node.ctl("set_permissions", USER, ".*", ".*", ".*")
    try:
        address = f"127.0.0.1:{node.port}/"
        await start(machine, rig, server, AMQP_URL=f"amqp://{USER}:{OLD}@{address}")
        machine.write("amqp-url", f"amqp://{USER}:{NEW}@{address}\n")
        await node.ctl("change_password", USER, NEW)
        await node.ctl("close_all_user_connections", USER, "rotated")
        # It has a copy, as docs/operations.md says.
        await eventually(
            lambda: any("refused the login" in line.get("error", "") for line in rig.log())
        )
        await machine.systemctl("restart", "broker")
        await rig.logged("amqp_connected", times=2)
    finally:
        await node.ctl("delete_user", USER)
    written = machine.log.read_text()
    assert OLD not in written
    assert NEW not in written
