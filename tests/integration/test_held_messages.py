"""Messages that nobody can receive wait in RabbitMQ, for somebody or for their deadline."""

import json
from contextlib import suppress
from functools import partial
from operator import eq
from typing import Any

from pamqp.commands import Basic

from tests.integration.http_client import serving, until_answered
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.amqp_connection import Message
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually

LONG = "600"


def decoded(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in messages]


def online(server: CentralServer, *agent_ids: str, capabilities: list[str] | None = None) -> None:
    for agent_id in agent_ids:
        entry = {"agent_id": agent_id, "is_online": True, "capabilities": capabilities}
        server.send({"message_type": "AGENT_STATUS_UPDATE", "agents": [entry]})


async def held(rig: Rig, count: int) -> None:
    async def waiting() -> int:
        with suppress(ConnectionError):  # there is no such queue yet
            return await rig.ready(rig.hold)
        return 0

    await eventually(waiting, "messages are held", until=partial(eq, count))


async def test_a_message_waits_until_somebody_comes(rig: Rig, server: CentralServer) -> None:
    async with serving(rig, server.url, BROKER_HOLD=LONG) as port:
        await rig.logged("routing_started")
        messages = [text(number, "somebody", big=10**60) for number in range(30)]
        await rig.publish(rig.input, *messages)
        await held(rig, 30)
        status = json.loads(
            await until_answered(port, "/status", 200, '"held":{"seconds":600.0,"messages":30')
        )
        assert status["held"]["earliest_deadline"] is not None
        await until_answered(port, "/metrics", 200, "broker_held_messages 30.0")
        online(server, "ada")
        routed = await rig.take(rig.output, 30)
        assert sorted(ids(routed)) == sorted(f"m-{number}" for number in range(30))
        assert all(message["receiver_id"] == "ada" for message in decoded(routed))
        assert all(message["big"] == 10**60 for message in decoded(routed))
        assert await rig.ready(rig.hold) == 0
        await until_answered(port, "/metrics", 200, "broker_held_messages 0.0")


async def test_each_waits_for_who_can_do_what_it_requires(rig: Rig, server: CentralServer) -> None:
    async with rig.broker(server.url, BROKER_HOLD=LONG, BROKER_RECEIVER="require"):
        await rig.logged("routing_started")
        bring_online(server, 2)
        await rig.publish(
            rig.input,
            text(1, "agent_0", required_capabilities=["sums"]),
            text(2, "agent_0", receiver_id="bob"),
            text(3, "agent_0"),
        )
        assert ids(await rig.take(rig.output, 1)) == ["m-3"]
        online(server, "bob")
        assert ids(await rig.take(rig.output, 1)) == ["m-2"]
        online(server, "ada", capabilities=["sums"])
        [message] = await rig.take(rig.output, 1)
        assert json.loads(message.body)["receiver_id"] == "ada"


async def test_a_sender_is_told_when_the_time_is_over(rig: Rig, server: CentralServer) -> None:
    async with rig.broker(server.url, BROKER_HOLD="1"):
        await rig.logged("routing_started")
        await rig.publish(rig.input, text(1, "somebody", _client_id="c7"))
        [failure] = decoded(await rig.take(rig.output, 1))
        assert failure["reason"] == "no_agent_online"
        assert failure["in_reply_to_message_id"] == "m-1"
        assert failure["_client_id"] == "c7"
        assert failure["held_seconds"] >= 1


async def test_what_is_held_survives_and_is_taken_out_when_nothing_is_held_any_more(
    rig: Rig, server: CentralServer
) -> None:
    async with rig.broker(server.url, BROKER_HOLD=LONG) as broker:
        await rig.logged("routing_started")
        await rig.publish(rig.input, *(text(number, "somebody") for number in range(5)))
        await held(rig, 5)
        assert await terminate(broker, within=12) == 0
    async with rig.broker(server.url, BROKER_HOLD=LONG) as broker:
        await rig.logged("routing_started", times=2)
        assert await terminate(broker, within=12) == 0
        await held(rig, 5)
    async with rig.broker(server.url):
        await rig.logged("routing_started", times=3)
        failures = decoded(await rig.take(rig.output, 5))
        assert {failure["reason"] for failure in failures} == {"no_agent_online"}
        assert all(failure["held_seconds"] > 0 for failure in failures)
        assert await rig.ready(rig.hold) == 0


async def test_two_brokers_hold_in_one_queue(rig: Rig, server: CentralServer) -> None:
    settings = {"BROKER_HOLD": LONG, "BROKER_HTTP_PORT": "off"}
    async with (
        rig.broker(server.url, **settings),
        rig.broker(server.url, **settings),
    ):
        await rig.logged("routing_started", times=2)
        await rig.publish(rig.input, *(text(number, "somebody") for number in range(200)))
        await held(rig, 200)
        online(server, "ada")
        routed = await rig.take(rig.output, 200)
        assert len(set(ids(routed))) == 200


async def test_an_expiration_does_not_make_a_held_message_vanish(
    rig: Rig, server: CentralServer
) -> None:
    async with rig.broker(server.url, BROKER_HOLD=LONG):
        await rig.logged("routing_started")
        properties = Basic.Properties(expiration="60000")
        await rig.publish(rig.input, text(1, "somebody"), properties=properties)
        await held(rig, 1)
        [message] = await rig.take(rig.hold, 1)
        properties = message.header.properties
        assert properties.expiration is None
        assert properties.headers is not None
        assert properties.headers["x-broker-held-expiration"] == "60000"
