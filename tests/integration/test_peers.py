"""The real process with peers that are away, come, go and come back."""

import json

import pytest

from broker.version import __version__
from tests.integration.rig import Rig, bring_online, ids, terminate, text
from tests.lab.central_server import CentralServer, open_central_server
from tests.lab.eventually import eventually


async def waits(rig: Rig) -> None:
    """Wait until a message waits in the input queue, though a consumer may have had it before."""
    await eventually(lambda: rig.ready(rig.input), until=lambda ready: ready == 1)


async def test_server_absent_then_there_then_gone(rig: Rig) -> None:
    async with open_central_server() as server:
        server.accepting = False
        agents = bring_online(server)
        async with rig.broker(server.url, BROKER_REGISTRY_TTL="2") as broker:
            await rig.logged("amqp_connected")
            await rig.logged("server_unavailable")
            await rig.publish(rig.input, text(1, agents[0]))
            await waits(rig)

            server.accepting = True
            advertisement = {"message_type": "SERVER_AVAILABLE", "websocket_url": server.url}
            await rig.publish(rig.advertisement, json.dumps(advertisement).encode())
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]
            await rig.logged("ready")

            server.accepting = False
            server.drop_sessions()
            await rig.logged("routing_paused")
            await rig.publish(rig.input, text(2, agents[0]))
            await waits(rig)

            server.accepting = True
            await rig.publish(rig.advertisement, json.dumps(advertisement).encode())
            assert ids(await rig.take(rig.output, 1)) == ["m-2"]
            assert await terminate(broker, within=12) == 0
    lines = list(rig.log())
    assert all("broker_id" in line for line in lines)
    [ready] = [line for line in lines if line["event"] == "ready"]  # not again after the loss
    assert ready["product"].startswith("RabbitMQ ")
    assert (ready["url"], ready["version"]) == (server.url, __version__)
    assert (ready["input_queues"], ready["output_queues"]) == ([rig.input], [rig.output])
    assert ready["agents_online"] == len(agents)
    assert ready["seconds"] > 0


@pytest.mark.exhaustive
async def test_rabbitmq_absent_at_start_and_coming_later(rig: Rig, server: CentralServer) -> None:
    bring_online(server)
    await rig.node.stop()
    try:
        async with rig.broker(server.url) as broker:
            await rig.logged("amqp_unavailable", 2)
            await rig.node.start()
            await rig.logged("routing_started")
            await rig.publish(rig.input, text(1, "agent_0"))
            assert ids(await rig.take(rig.output, 1)) == ["m-1"]
            assert await terminate(broker, within=12) == 0
    finally:
        await rig.node.start()
