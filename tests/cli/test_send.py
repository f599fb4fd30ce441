"""`broker send` on a real RabbitMQ node, and to a real broker."""

import json
from datetime import datetime
from pathlib import Path
from uuid import UUID

from tests.cli.mailroom import Mailroom
from tests.integration.rig import Rig, bring_online
from tests.lab.central_server import open_central_server
from tests.lab.rabbitmq_node import RabbitmqNode


async def test_one_message(mailroom: Mailroom) -> None:
    ran = await mailroom.run("send", "Grüße\n", PYTHONUTF8="1")
    assert (ran.code, ran.err) == (0, "")
    message_id = ran.out.removesuffix("\n")
    assert str(UUID(message_id)) == message_id
    [message] = await mailroom.take(mailroom.input)
    body = json.loads(message.body)
    assert datetime.fromisoformat(body.pop("send_timestamp")).tzinfo is not None
    assert body == {
        "message_type": "TEXT",
        "message_id": message_id,
        "sender_id": "unknown",
        "text_payload": "Grüße\n",
    }
    properties = message.header.properties
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")
    assert properties.app_id == "BrokerService"


async def test_a_reply(mailroom: Mailroom) -> None:
    options = ("--sender", "agent_1", "--type", "REPLY", "--in-reply-to", "m-1", "--format", "json")
    ran = await mailroom.run("send", "yes", *options)
    assert ran.document["queue"] == mailroom.input
    [message] = await mailroom.take(mailroom.input)
    body = json.loads(message.body)
    assert [body["message_id"]] == ran.document["message_ids"]
    assert (body["message_type"], body["sender_id"]) == ("REPLY", "agent_1")
    assert body["in_reply_to_message_id"] == "m-1"


async def test_many_messages(mailroom: Mailroom) -> None:
    ran = await mailroom.run("send", "hello", "--count", "1200")
    messages = await mailroom.take(mailroom.input)
    ids = [json.loads(message.body)["message_id"] for message in messages]
    assert ran.out.splitlines() == ids
    assert len(set(ids)) == 1200


async def test_the_first_of_several_queues(mailroom: Mailroom) -> None:
    queues = {"BROKER_INPUT_QUEUE": f"{mailroom.input},{mailroom.metadata}_not_there"}
    ran = await mailroom.run("send", "hello", "--format", "json", **queues)
    assert (ran.code, ran.document["queue"]) == (0, mailroom.input)
    assert await mailroom.raw.ready(mailroom.input) == 1


async def test_a_queue_that_is_missing_is_not_made(mailroom: Mailroom) -> None:
    await mailroom.raw.delete(mailroom.input)
    line = await mailroom.failure("send", "hello")
    assert line.startswith(f"broker: there is no queue '{mailroom.input}'")
    assert "BROKER_INPUT_QUEUE" in line
    assert mailroom.input not in await mailroom.node.ctl("list_queues", "name")


async def test_a_queue_that_is_full(mailroom: Mailroom) -> None:
    await mailroom.raw.delete(mailroom.input)
    full: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await mailroom.raw.declare(mailroom.input, **full)
    ran = await mailroom.run("send", "hello", "--count", "20", "--format", "json")
    assert ran.code == 1
    sent = ran.document["message_ids"]
    assert len(sent) < 20
    [line] = ran.err.splitlines()
    assert line.startswith(f"broker: RabbitMQ refused {20 - len(sent)} of the messages")
    messages = await mailroom.take(mailroom.input)
    assert [json.loads(message.body)["message_id"] for message in messages] == sent


async def test_a_message_that_the_broker_would_not_accept(mailroom: Mailroom) -> None:
    ran = await mailroom.run("send", "x" * 2000, BROKER_MAX_MESSAGE_BYTES="1000")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("broker: the broker would not accept this message: ")
    assert await mailroom.raw.ready(mailroom.input) == 0


async def test_the_broker_routes_it(
    mailroom: Mailroom, rabbitmq: RabbitmqNode, tmp_path: Path
) -> None:
    rig = Rig(rabbitmq, tmp_path)
    async with open_central_server() as server:
        agents = bring_online(server, 2)
        async with rig.broker(server.url):
            await rig.logged("routing_started")
            ran = await mailroom.run(
                "send", "hello", "--sender", agents[0], BROKER_INPUT_QUEUE=rig.input
            )
            [routed] = await rig.take(rig.output, 1)
    body = json.loads(routed.body)
    assert body["message_id"] == ran.out.strip()
    assert (body["sender_id"], body["receiver_id"]) == (agents[0], agents[1])
