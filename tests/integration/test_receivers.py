"""What the `receiver_id` of a message means, with the real process."""

import json

import pytest
from msgspec.structs import replace

from broker.core.messages import AgentStatus
from tests.integration.rig import Rig, bring_online, text
from tests.lab.central_server import CentralServer

OFFLINE = AgentStatus("agent_off", "Agent Off", is_online=False)


async def test_by_default_it_means_nothing(rig: Rig, server: CentralServer) -> None:
    bring_online(server, 2)
    server.update(OFFLINE)
    async with rig.routing(server.url):
        named = ("agent_0", "agent_1", "agent_off", "nobody", "")
        messages = [text(n, "agent_0", receiver_id=name) for n, name in enumerate(named)]
        assert await rig.decided(*messages) == ["agent_1"] * len(named)


async def test_preferred(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server, 4)
    server.update(OFFLINE)
    async with rig.routing(server.url, BROKER_RECEIVER="prefer"):
        named = [text(n, "agent_0", receiver_id=agents[1 + n % 3]) for n in range(30)]
        assert await rig.decided(*named) == agents[1:] * 10

        # Whoever cannot have it does not keep it from the others: the sender is one of those.
        for name in ("agent_off", "nobody", "agent_0", "", None):
            others = await rig.decided(*[text(1, "agent_0", receiver_id=name)] * 40)
            assert set(others) == set(agents[1:])

        capable = text(1, "agent_0", receiver_id="agent_1", required_capabilities=["chess"])
        assert await rig.decided(capable) == ["no_capable_agent"]


async def test_required(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server, 4)
    server.update(OFFLINE)
    async with rig.routing(server.url, BROKER_RECEIVER="require"):
        named = [text(n, "agent_0", receiver_id=agents[1 + n % 3]) for n in range(30)]
        assert await rig.decided(*named) == agents[1:] * 10

        for name in ("agent_off", "nobody", "agent_0"):
            assert await rig.decided(text(1, "agent_0", receiver_id=name)) == ["receiver_offline"]
        capable = text(1, "agent_0", receiver_id="agent_1", required_capabilities=["chess"])
        assert await rig.decided(capable) == ["no_capable_agent"]
        # One that is for nobody in particular is for anybody.
        assert set(await rig.decided(*[text(1, "agent_0")] * 40)) == set(agents[1:])

        await rig.publish(rig.input, text(7, "agent_0", receiver_id="agent_off", _client_id="c7"))
        [message] = await rig.take(rig.output, 1)
        failure = json.loads(message.body)
        assert failure.pop("message_id")
        assert failure == {
            "message_type": "ERROR",
            "sender_id": "BrokerService",
            "receiver_id": "Server",
            "text_payload": (
                "The message could not be routed: the agent that it is for cannot receive it now."
            ),
            "reason": "receiver_offline",
            "routing_status": "error",
            "original_message_id": "m-7",
            "original_sender_id": "agent_0",
            "in_reply_to_message_id": "m-7",
            "_client_id": "c7",
        }

        server.agents = {"agent_off": replace(OFFLINE, is_online=True)}
        server.send(server.full_update())
        await rig.updated(3, full=True)
        assert await rig.decided(
            text(1, "agent_0", receiver_id="agent_off"), text(2, "agent_0", receiver_id="agent_1")
        ) == ["agent_off", "receiver_offline"]


@pytest.mark.parametrize("rule", ["ignore", "prefer", "require"])
async def test_one_that_is_no_text_is_dead_lettered(
    rule: str, rig: Rig, server: CentralServer
) -> None:
    bring_online(server, 2)
    async with rig.routing(server.url, BROKER_RECEIVER=rule):
        wrong = text(1, "agent_0", receiver_id=5)
        await rig.publish(rig.input, wrong, text(2, "agent_0", receiver_id="agent_1"))
        [letter] = await rig.take(rig.dead_letter, 1)
        assert letter.body == wrong
        assert (letter.header.properties.headers or {})["x-broker-reason"] == "invalid_field"
        assert (await rig.decided(text(3, "agent_0")))[-1] == "agent_1"
