"""The real process with several input and output queues."""

import json
from collections import defaultdict
from itertools import chain
from zlib import crc32

import trio

from tests.integration.http_client import get, listening, until_answered
from tests.integration.rig import Rig, bring_online, terminate, text
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually

EACH = 600


async def test_all_messages_for_an_agent_are_in_one_queue_and_in_order(
    rig: Rig, server: CentralServer
) -> None:
    agents = bring_online(server, 12)
    inputs = [f"{rig.input}_{number}" for number in (1, 2)]
    outputs = [f"{rig.output}_{number}" for number in (1, 2, 3)]
    lists = {"BROKER_INPUT_QUEUE": ",".join(inputs), "BROKER_OUTPUT_QUEUE": ", ".join(outputs)}
    async with rig.broker(server.url, BROKER_HTTP_PORT="0", **lists) as broker:
        await rig.logged("routing_started", 2)
        async with trio.open_nursery() as nursery:
            for queue in inputs:
                bodies = [text(number, "somebody", source=queue) for number in range(EACH)]
                bodies.append(b'{"message_type": "ERROR"}')
                nursery.start_soon(rig.publish, queue, *bodies)
        await eventually(lambda: rig.ready(*outputs), until=lambda count: count == 2 * (EACH + 1))
        port = await listening(rig)
        await until_answered(port, "/readyz", 200)
        assert json.loads((await get(port, "/status"))[1])["state"] == "routing"
        assert "broker_input_queues 2.0\n" in (await get(port, "/metrics"))[1]
        assert await terminate(broker, within=12) == 0

    numbers = defaultdict(list)
    queues = defaultdict(set)
    errors = []
    for queue in outputs:
        for message in await rig.take_all(queue):
            body = json.loads(message.body)
            if body["message_type"] == "ERROR":
                errors.append(queue)
                continue
            receiver = body["receiver_id"]
            queues[receiver].add(queue)
            numbers[body["source"], receiver].append(int(body["message_id"].removeprefix("m-")))
    assert errors == [outputs[0]] * 2
    assert queues == {agent: {outputs[crc32(agent.encode()) % 3]} for agent in agents}
    for queue in inputs:
        arrived = chain.from_iterable(numbers[queue, agent] for agent in agents)
        assert sorted(arrived) == list(range(EACH))
    assert all(some == sorted(some) for some in numbers.values())
