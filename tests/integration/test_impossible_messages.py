"""Messages that RabbitMQ does not take, or would send in a frame that nobody takes."""

import json
import os
import signal

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.common import FieldTable

from tests.amqp.limits import limited
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer

LIMIT = 1_048_576


def sized(number: int, size: int) -> bytes:
    """Return a TEXT of exactly so many bytes."""
    bare = text(number, "agent_0", text_payload="")
    body = text(number, "agent_0", text_payload="x" * (size - len(bare)))
    assert len(body) == size
    return body


def headers(message: DeliveredMessage) -> FieldTable:
    found = message.header.properties.headers
    assert found is not None
    return found


def joined(parts: list[DeliveredMessage]) -> bytes:
    """Return the body of a dead letter in parts."""
    assert len({headers(part)["x-broker-part-group"] for part in parts}) == 1
    assert {headers(part)["x-broker-parts"] for part in parts} == {str(len(parts))}
    numbered = {int(str(headers(part)["x-broker-part"])): part.body for part in parts}
    return b"".join(numbered[number] for number in range(1, len(parts) + 1))


def lost_sessions(rig: Rig) -> int:
    return sum(line["event"] == "amqp_lost" for line in rig.log())


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_message_that_routing_makes_too_large_costs_one_session(
    fragile_rig: Rig, server: CentralServer, queue_type: str
) -> None:
    rig = fragile_rig
    bring_online(server, 2)
    await rig.declare(rig.input, x_queue_type=queue_type)
    async with limited(rig.node, "max_message_size", LIMIT), rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        large = sized(1, 1_048_570)
        neighbours = [text(number, "agent_0") for number in range(2, 12)]
        await rig.publish(rig.input, large, *neighbours)

        assert set(ids(await rig.take(rig.output, 10))) == {f"m-{n}" for n in range(2, 12)}
        [letter] = await rig.take(rig.dead_letter, 1)
        assert letter.body == large
        assert headers(letter)["x-broker-reason"] == "too_large"
        assert "1048576" in str(headers(letter)["x-broker-error"])
        await rig.publish(rig.input, large, text(12, "agent_0"))
        assert ids(await rig.take(rig.output, 1)) == ["m-12"]
        assert len(await rig.take(rig.dead_letter, 1)) == 1
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 1
    assert await rig.ready_count(rig.input) == 0


async def test_a_body_from_before_the_limit_is_dead_lettered_in_parts(
    fragile_rig: Rig, server: CentralServer
) -> None:
    rig = fragile_rig
    bring_online(server, 2)
    await rig.declare(rig.input)
    large = sized(1, 3 * LIMIT + 17)
    await rig.publish(rig.input, large, text(2, "agent_0"))
    async with limited(rig.node, "max_message_size", LIMIT), rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        assert ids(await rig.take(rig.output, 1)) == ["m-2"]
        parts = await rig.take(rig.dead_letter, 4)
        assert joined(parts) == large
        assert {headers(part)["x-broker-reason"] for part in parts} == {"too_large"}
        logged = await rig.logged("dead_lettered")
        assert [line["count"] for line in logged] == [1]
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 1
    assert await rig.ready_count(rig.input) == 0


@pytest.mark.parametrize("offered", [0, 1 << 30, 8192, 4096])
async def test_whatever_frame_max_is_offered(
    fragile_rig: Rig, server: CentralServer, offered: int
) -> None:
    rig = fragile_rig
    bring_online(server, 2)
    await rig.declare(rig.input)
    bodies = [sized(1, 1_048_706), sized(2, 1_048_000), text(3, "agent_0")]
    await rig.publish(rig.input, *bodies)
    async with (
        limited(rig.node, "frame_max", offered),
        rig.broker(server.url, BROKER_MAX_MESSAGE_BYTES="2000000") as broker,
    ):
        await rig.logged("routing_started")
        routed = await rig.take(rig.output, 3)
        assert ids(routed) == ["m-1", "m-2", "m-3"]
        payloads = [json.loads(message.body)["text_payload"] for message in routed]
        assert payloads == [json.loads(body)["text_payload"] for body in bodies]
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 0


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_properties_larger_than_any_frame_that_was_agreed_to(
    fragile_rig: Rig, server: CentralServer, queue_type: str
) -> None:
    """RabbitMQ splits bodies into frames of that size, and properties and headers never."""
    rig = fragile_rig
    bring_online(server, 2)
    await rig.declare(rig.input, x_queue_type=queue_type)
    large = Basic.Properties(delivery_mode=2, headers={"x-large": "y" * 300_000})
    async with limited(rig.node, "frame_max", 0):
        await rig.publish(rig.input, text(1, "agent_0"), b"nonsense", properties=large)
    await rig.publish(rig.input, text(2, "agent_0"))
    async with rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        assert ids(await rig.take(rig.output, 2)) == ["m-1", "m-2"]
        letter = joined(await rig.take(rig.dead_letter, 1))
        assert letter.endswith(b"nonsense")
        assert b"y" * 300_000 in letter
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 0


async def test_headers_that_pass_on_fit_into_the_smallest_frame(
    fragile_rig: Rig, server: CentralServer
) -> None:
    rig = fragile_rig
    bring_online(server, 2)
    await rig.declare(rig.input)
    most: FieldTable = dict.fromkeys(("traceparent", "tracestate"), "😀" * 1024)
    await rig.publish(
        rig.input,
        text(1, "agent_0"),
        properties=Basic.Properties(headers=most, correlation_id="c" * 255),
    )
    async with limited(rig.node, "frame_max", 4096), rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        [routed] = await rig.take(rig.output, 1)
        assert ids([routed]) == ["m-1"]
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 0


async def test_a_part_of_a_dead_letter_needs_room_for_its_number(
    fragile_rig: Rig, server: CentralServer
) -> None:
    """With these headers a dead letter has just room in a frame, and a part of one has not."""
    rig = fragile_rig
    bring_online(server, 2)
    await rig.declare(rig.input)
    await rig.publish(
        rig.input, b"n" * 3000, properties=Basic.Properties(headers={"x": "y" * 3700})
    )
    async with (
        limited(rig.node, "frame_max", 4096),
        limited(rig.node, "max_message_size", 700),
        rig.broker(server.url) as broker,
    ):
        await rig.logged("dead_lettered")
        letter = joined(await rig.take(rig.dead_letter, 10))
        assert letter.endswith(b"n" * 3000)
        assert b"y" * 3700 in letter
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 1


async def test_an_announcement_that_is_too_large_costs_one_session(
    fragile_rig: Rig, server: CentralServer
) -> None:
    """It says more than the advertisement that it comes of."""
    rig = fragile_rig
    bring_online(server, 2)
    async with limited(rig.node, "max_message_size", 1000), rig.broker(server.url) as broker:
        await rig.logged("routing_started")
        large, small = (
            json.dumps({"message_type": "SERVER_AVAILABLE", "websocket_url": url}).encode()
            for url in (f"ws://{'a' * 920}", "ws://a")
        )
        assert len(large) < 1000
        for _ in range(2):
            await rig.publish(rig.advertisement, large, small)
            [letter] = await rig.take(rig.dead_letter, 1)
            assert letter.body == large
            assert headers(letter)["x-broker-reason"] == "too_large"
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 1
    assert await rig.ready_count(rig.advertisement) == 0


async def test_what_comes_back_to_a_quorum_queue_too_often_is_published_anew(
    rig: Rig, server: CentralServer
) -> None:
    """RabbitMQ 4 drops it at the 21st return; so many are not needed to see that it never comes."""
    bring_online(server, 2)
    await rig.declare(rig.input, x_queue_type="quorum", x_delivery_limit=2)
    await rig.declare(rig.output, x_max_length=1, x_overflow="reject-publish")
    await rig.publish(rig.output, b"full")
    numbers = range(1, 11)
    await rig.publish(rig.input, *(text(number, "agent_0") for number in numbers))
    for crash in range(1, 9):
        async with rig.broker(server.url, BROKER_LOG_LEVEL="debug") as broker:
            await rig.logged("publishing_refused", times=crash)
            os.kill(broker.pid, signal.SIGKILL)
            await broker.wait()
    await rig.take(rig.output, 1)
    async with rig.broker(server.url) as broker:
        seen: set[str] = set()
        while len(seen) < len(numbers):
            seen |= set(ids(await rig.take(rig.output, 1)))
        assert await terminate(broker, within=10) == 0
    assert seen == {f"m-{number}" for number in numbers}
    assert await rig.ready_count(rig.input) == 0
