"""Messages that RabbitMQ does not take, or would send in a frame that nobody takes."""

import json
import os
import signal

import pytest
from pamqp.commands import Basic
from pamqp.common import FieldTable

from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.amqp_connection import Message
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually
from tests.lab.limits import limited

LIMIT = 1_048_576


@pytest.fixture
def rig(rig: Rig, server: CentralServer) -> Rig:
    bring_online(server, 2)
    return rig


def sized(number: int, size: int) -> bytes:
    bare = text(number, "agent_0", text_payload="")
    body = text(number, "agent_0", text_payload="x" * (size - len(bare)))
    assert len(body) == size
    return body


def headers(message: Message) -> FieldTable:
    found = message.header.properties.headers
    assert found is not None
    return found


def lost_sessions(rig: Rig) -> int:
    return sum(line["event"] == "amqp_lost" for line in rig.log())


@pytest.mark.parametrize("offered", [0, 1 << 30, 8192, 4096])
async def test_whatever_frame_max_is_offered(rig: Rig, server: CentralServer, offered: int) -> None:
    await rig.declare(rig.input)
    bodies = [sized(1, 1_048_706), sized(2, 1_048_000), text(3, "agent_0")]
    await rig.publish(rig.input, *bodies)
    async with (
        limited(rig.node, "frame_max", offered),
        rig.routing(server.url, BROKER_MAX_MESSAGE_BYTES="2000000"),
    ):
        routed = await rig.take(rig.output, 3)
        assert ids(routed) == ["m-1", "m-2", "m-3"]
        payloads = [json.loads(message.body)["text_payload"] for message in routed]
        assert payloads == [json.loads(body)["text_payload"] for body in bodies]
    assert lost_sessions(rig) == 0


async def test_headers_that_pass_on_fit_into_the_smallest_frame(
    rig: Rig, server: CentralServer
) -> None:
    await rig.declare(rig.input)
    most: FieldTable = dict.fromkeys(("traceparent", "tracestate"), "😀" * 1024)
    await rig.publish(
        rig.input,
        text(1, "agent_0"),
        properties=Basic.Properties(headers=most, correlation_id="c" * 255),
    )
    async with limited(rig.node, "frame_max", 4096), rig.routing(server.url):
        [routed] = await rig.take(rig.output, 1)
        assert ids([routed]) == ["m-1"]
    assert lost_sessions(rig) == 0


async def test_a_part_of_a_dead_letter_needs_room_for_its_number(
    rig: Rig, server: CentralServer
) -> None:
    """With these headers a dead letter has just room in a frame, and a part of one has not."""
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
        [first] = await rig.take(rig.dead_letter, 1)
        count = int(str(headers(first)["x-broker-parts"]))
        parts = [first, *await rig.take(rig.dead_letter, count - 1)]
        parts.sort(key=lambda part: int(str(headers(part)["x-broker-part"])))
        letter = b"".join(part.body for part in parts)
        assert letter.endswith(b"n" * 3000)
        assert b"y" * 3700 in letter
        assert await terminate(broker, within=10) == 0
    assert lost_sessions(rig) == 1


async def test_an_announcement_that_is_too_large_costs_one_session(
    rig: Rig, server: CentralServer
) -> None:
    """It says more than the advertisement that it comes of."""
    async with limited(rig.node, "max_message_size", 1000), rig.routing(server.url):
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
        # The small one behind it may still be on its way to the broker.
        await eventually(lambda: rig.ready(rig.advertisement), until=lambda ready: ready == 0)
    assert lost_sessions(rig) == 1
    assert await rig.ready(rig.advertisement) == 0


@pytest.mark.exhaustive
@pytest.mark.rabbitmq_version
async def test_what_comes_back_to_a_quorum_queue_too_often_is_published_anew(
    rig: Rig, server: CentralServer
) -> None:
    """RabbitMQ 4 drops it at the 21st return; so many are not needed to see that it never comes."""
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
    assert await rig.ready(rig.input) == 0
