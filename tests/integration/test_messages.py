"""Every kind of message through the real process."""

import json
import operator
from typing import Any

from pamqp.commands import Basic

from tests.integration.rig import Rig, bring_online, ids, text
from tests.lab.amqp_connection import Message
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually


def decoded(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in messages]


async def test_every_kind_of_message(rig: Rig, server: CentralServer) -> None:
    bring_online(server, 2)
    async with rig.routing(server.url):
        error = b'{"message_type": "ERROR",  "text_payload": "left as it is", "n": 1.50}'
        chat = [
            text(1, "agent_0", routing_status="pending", _client_id="c1", _broadcast=True),
            text(2, "agent_1", message_type="REPLY", in_reply_to_message_id="m-1", big=10**60),
            text(3, "somebody", message_type="SYSTEM", _target_agent_id="agent_9"),
            error,
        ]
        await rig.publish(rig.input, *chat)
        published = await rig.take(rig.output, len(chat))
        first, second, third, _ = decoded(published)

        expected = {**json.loads(chat[0]), "routing_status": "routed", "receiver_id": "agent_1"}
        del expected["_client_id"], expected["_broadcast"]
        assert first == expected
        assert second["receiver_id"] == "agent_0"
        assert second["big"] == 10**60
        assert "routing_status" not in second
        assert third["receiver_id"] in {"agent_0", "agent_1"}
        assert "_target_agent_id" not in third
        assert published[3].body == error

        for message in published:
            properties = message.header.properties
            assert properties.delivery_mode == 2
            assert properties.content_type == "application/json"
            assert properties.app_id == "broker-1"
            assert properties.timestamp is not None
        assert len({message.header.properties.message_id for message in published}) == len(chat)


async def test_registrations_and_disconnections_by_queue(rig: Rig, server: CentralServer) -> None:
    async with rig.broker(server.url, BROKER_LOG_LEVEL="debug"):
        await rig.logged("amqp_connected")
        register = {
            "message_type": "REGISTER_AGENT",
            "agent_id": "agent_x",
            "agent_name": "X",
            "capabilities": ["chat"],
            "_client_id": {"conn": 17},
        }
        await rig.publish(rig.metadata, json.dumps(register).encode())
        [response] = decoded(await rig.take(rig.output, 1))
        assert response == {
            "message_type": "REGISTER_AGENT_RESPONSE",
            "status": "success",
            "agent_id": "agent_x",
            "message": "Agent registered successfully",
            "_client_id": {"conn": 17},
        }

        await rig.publish(rig.input, text(1, "agent_x", _client_id="c7"))
        [failure] = decoded(await rig.take(rig.output, 1))
        assert failure["reason"] == "only_sender_online"
        assert failure["original_message_id"] == failure["in_reply_to_message_id"] == "m-1"
        assert failure["original_sender_id"] == "agent_x"
        assert failure["_client_id"] == "c7"
        assert (failure["sender_id"], failure["receiver_id"]) == ("BrokerService", "Server")

        gone = {"message_type": "CLIENT_DISCONNECTED", "agent_id": "agent_x"}
        await rig.publish(rig.metadata, json.dumps(gone).encode())
        await rig.logged("agent_disconnected")
        await rig.publish(rig.input, text(2, "somebody"))
        [failure] = decoded(await rig.take(rig.output, 1))
        assert failure["reason"] == "no_agent_online"
        assert failure["routing_status"] == "error"


async def test_ten_thousand_messages_in_order(rig: Rig, server: CentralServer) -> None:
    agents = bring_online(server, 10)
    async with rig.routing(server.url):
        senders = [agents[number % 10] for number in range(10_000)]
        await rig.publish(rig.input, *(text(n, sender) for n, sender in enumerate(senders)))
        await eventually(lambda: rig.ready(rig.output), until=lambda ready: ready == 10_000)
        routed = await rig.take_all(rig.output)

    assert ids(routed) == [f"m-{number}" for number in range(10_000)]
    receivers = [message["receiver_id"] for message in decoded(routed)]
    assert not any(map(operator.eq, receivers, senders))
    assert set(receivers) == set(agents)
    assert await rig.ready(rig.input) == 0
    assert await rig.ready(rig.dead_letter) == 0


async def test_queues_that_exist_are_used_as_they_are(rig: Rig, server: CentralServer) -> None:
    bring_online(server)
    await rig.declare(rig.input, x_queue_type="quorum")
    await rig.declare(rig.output, x_max_length=100_000)
    async with rig.routing(server.url):
        await rig.publish(rig.input, text(1, "agent_0"))
        assert ids(await rig.take(rig.output, 1)) == ["m-1"]
        # A peer that declares what the broker created, as peers do, is not refused.
        await rig.declare(rig.dead_letter)
        created = [line["queue"] for line in await rig.logged("queue_created", 3)]
    assert created == [rig.metadata, rig.advertisement, rig.dead_letter]


async def test_half_an_emoji_reaches_its_receiver(rig: Rig, server: CentralServer) -> None:
    async with rig.routing(server.url):
        half = text(1, "agent_0\ud83d", text_payload="cut off: \ud83d", key={"\ude00": "\ud83d"})
        await rig.publish(rig.input, half)
        [failure] = decoded(await rig.take(rig.output, 1))
        assert failure["reason"] == "no_agent_online"
        assert failure["original_sender_id"] == "agent_0\ud83d"

        bring_online(server, 1)
        await rig.updated(1, full=False)
        await rig.publish(rig.input, half)
        [message] = await rig.take(rig.output, 1)
    assert rb'"cut off: \ud83d"' in message.body
    assert json.loads(message.body) == {**json.loads(half), "receiver_id": "agent_0"}


async def test_priority_and_expiration_pass_to_the_routed_message(
    rig: Rig, server: CentralServer
) -> None:
    bring_online(server)
    properties = Basic.Properties(priority=7, expiration="3600000", reply_to="r", app_id="a")
    async with rig.routing(server.url):
        await rig.publish(rig.input, text(1, "agent_0"), properties=properties)
        [message] = await rig.take(rig.output, 1)
    its = message.header.properties
    assert (its.priority, its.expiration) == (7, "3600000")
    assert (its.reply_to, its.app_id) == (None, "broker-1")
