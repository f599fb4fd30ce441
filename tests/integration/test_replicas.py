"""Two brokers on the same queues: what one of them learns, both know."""

import json

import pytest

from tests.integration.rig import Rig, disconnect, register, terminate, text
from tests.lab.central_server import CentralServer


@pytest.mark.exhaustive
async def test_both_route_to_an_agent_that_registered_with_one_of_them(
    rig: Rig, server: CentralServer
) -> None:
    async with (
        rig.broker(server.url, BROKER_LOG_LEVEL="debug") as one,
        rig.broker(server.url, BROKER_LOG_LEVEL="debug") as other,
    ):
        await rig.logged("routing_started", 2)
        await rig.publish(rig.metadata, register("ada"), register("bob"), register("eve"))
        # Each broker takes messages in its own time: a disconnection may overtake a registration.
        await rig.take(rig.output, 3)
        await rig.publish(rig.metadata, disconnect("eve"))
        await rig.logged("registry_event_heard", 4)

        for broker in (one, other):
            # Now the other one routes alone.
            await rig.publish(rig.input, *(text(number, "ada") for number in range(20)))
            routed = await rig.take(rig.output, 20)
            assert {json.loads(message.body)["receiver_id"] for message in routed} == {"bob"}
            if broker is one:
                assert await terminate(one, within=12) == 0
