"""Where the capabilities of agents come from, and who gets messages that require some."""

from typing import Any

import pytest

from tests.integration.http_client import get, listening
from tests.integration.rig import Rig, bring_online, disconnect, ids, register, terminate, text
from tests.lab.central_server import CentralServer


def requiring(*capabilities: str) -> bytes:
    return text(1, "client", required_capabilities=capabilities, _client_id="c1")


class Truth:
    """Tells the broker who is online, in entries as a test writes them."""

    def __init__(self, rig: Rig, server: CentralServer) -> None:
        self._rig = rig
        self._server = server
        self._updates = 2

    async def tell(self, *entries: dict[str, object]) -> None:
        """Send a full update of agents that are online, and wait until it is applied."""
        agents: Any = {str(one["agent_id"]): {"is_online": True, **one} for one in entries}
        self._server.agents = agents
        self._server.send(self._server.full_update())
        self._updates += 1
        await self._rig.updated(self._updates, full=True)


async def test_from_registrations(rig: Rig, server: CentralServer) -> None:
    bring_online(server, 3)
    async with rig.broker(server.url, BROKER_LOG_LEVEL="debug", BROKER_HTTP_PORT="0") as broker:
        await rig.logged("routing_started")
        await rig.updated(2, full=True)
        await rig.publish(
            rig.metadata,
            register("ada", capabilities=["chess", "maths"]),
            register("bob", capabilities=["chess", "chess"]),
            register("eve"),
        )
        await rig.take(rig.output, 3)
        assert set(await rig.decided(*[requiring("chess")] * 40)) == {"ada", "bob"}
        assert await rig.decided(requiring("maths"), requiring("maths", "chess")) == ["ada"] * 2
        assert await rig.decided(requiring("chess", "go")) == ["no_capable_agent"]
        everybody = {"agent_0", "agent_1", "agent_2", "ada", "bob", "eve"}
        assert set(await rig.decided(*[requiring()] * 200)) == everybody
        # An agent never gets its own message, though nobody else could.
        own = text(1, "ada", required_capabilities=["maths"])
        assert await rig.decided(own) == ["no_capable_agent"]

        await rig.publish(rig.metadata, register("bob", capabilities=[]), register("ada"))
        await rig.take(rig.output, 2)
        assert set(await rig.decided(*[requiring("chess")] * 10)) == {"ada"}
        await rig.publish(rig.metadata, disconnect("ada"))
        await rig.logged("agent_disconnected")
        assert await rig.decided(requiring("chess")) == ["no_capable_agent"]
        await rig.publish(rig.metadata, register("ada"))
        await rig.take(rig.output, 1)
        assert await rig.decided(requiring("chess")) == ["ada"]

        metrics = (await get(await listening(rig), "/metrics"))[1]
        assert 'broker_routing_failures_total{reason="no_capable_agent"} 3.0\n' in metrics
        assert await terminate(broker, within=12) == 0


async def test_from_status_updates(rig: Rig, server: CentralServer) -> None:
    truth = Truth(rig, server)
    async with rig.routing(server.url):
        await truth.tell(
            {"agent_id": "ada", "capabilities": ["chess"]},
            {"agent_id": "bob"},
            {"agent_id": "eve", "capabilities": ["chess", 5]},
        )
        assert set(await rig.decided(*[requiring("chess")] * 10)) == {"ada"}

        # An update that says nothing of them, or nothing that can be understood, changes none.
        await truth.tell(
            {"agent_id": "ada"},
            {"agent_id": "bob", "capabilities": ["chess"]},
            {"agent_id": "eve"},
        )
        assert set(await rig.decided(*[requiring("chess")] * 40)) == {"ada", "bob"}
        await truth.tell(
            {"agent_id": "ada", "capabilities": None},
            {"agent_id": "bob", "capabilities": "none"},
        )
        assert set(await rig.decided(*[requiring("chess")] * 40)) == {"ada", "bob"}

        # An empty list takes them away.
        await truth.tell({"agent_id": "ada", "capabilities": []}, {"agent_id": "bob"})
        assert set(await rig.decided(*[requiring("chess")] * 10)) == {"bob"}
        await truth.tell({"agent_id": "ada"})
        assert await rig.decided(requiring("chess")) == ["no_capable_agent"]


@pytest.mark.exhaustive
async def test_from_a_registration_with_another_broker(rig: Rig, server: CentralServer) -> None:
    async with (
        rig.broker(server.url, BROKER_LOG_LEVEL="debug") as one,
        rig.broker(server.url, BROKER_LOG_LEVEL="debug") as other,
    ):
        await rig.logged("routing_started", 2)
        await rig.updated(4, full=True)
        await rig.publish(
            rig.metadata,
            register("ada", capabilities=["chess"]),
            register("bob", capabilities=["chess"]),
            register("eve", capabilities=["go"]),
        )
        await rig.take(rig.output, 3)
        await rig.logged("registry_event_heard", 3)
        # One that forgets what it could do, and one that says nothing of it.
        await rig.publish(rig.metadata, register("bob", capabilities=[]), register("eve"))
        await rig.take(rig.output, 2)
        await rig.logged("registry_event_heard", 5)
        for broker in (one, other):
            # Now the other one routes alone.
            chess = await rig.decided(*[requiring("chess")] * 20)
            assert set(chess) == {"ada"}
            assert await rig.decided(requiring("go")) == ["eve"]
            if broker is one:
                assert await terminate(one, within=12) == 0


WRONG: list[object] = [
    *("chess", 5, True, {"chess": 1}),
    *(["chess", 5], [None], [["chess"]], [""], ["a\n"], ["x" * 256]),
    [f"c{number}" for number in range(65)],
]


async def test_those_of_another_type_are_dead_lettered(rig: Rig, server: CentralServer) -> None:
    bring_online(server, 2)
    async with rig.routing(server.url):
        wrong = [text(n, "agent_0", required_capabilities=value) for n, value in enumerate(WRONG)]
        await rig.publish(rig.input, *wrong, text(99, "agent_0", required_capabilities=None))
        assert ids(await rig.take(rig.output, 1)) == ["m-99"]
        registrations = [register("agent_0", capabilities=value) for value in WRONG]
        await rig.publish(rig.metadata, *registrations)
        letters = await rig.take(rig.dead_letter, 2 * len(WRONG))
        assert await rig.decided(requiring("chess")) == ["no_capable_agent"]
    assert {letter.body for letter in letters} == {*wrong, *registrations}
    for letter in letters:
        headers = letter.header.properties.headers or {}
        assert headers["x-broker-reason"] == "invalid_field"
        name = "capabilities" if b"REGISTER" in letter.body else "required_capabilities"
        assert str(headers["x-broker-error"]).startswith(f"`{name}`")
