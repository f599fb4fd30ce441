"""Three brokers that are replaced one after the other, under load, as in a rolling update."""

import json
from collections import defaultdict
from contextlib import AsyncExitStack
from functools import partial
from itertools import chain
from operator import le, lt

import pytest
import trio

from tests.integration.rig import Rig, bring_online, terminate, text
from tests.lab.central_server import CentralServer
from tests.lab.eventually import eventually
from tests.lab.running_broker import RunningBroker

BROKERS = 3
BATCH = 100
PATIENCE = 60


class Load:
    """Messages with growing numbers, published until it is stopped."""

    def __init__(self, rig: Rig, sender_id: str) -> None:
        self.published = 0
        self._rig = rig
        self._sender_id = sender_id
        self._stopped = trio.Event()

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> None:
        while not self._stopped.is_set():
            numbers = range(self.published, self.published + BATCH)
            messages = [text(number, self._sender_id) for number in numbers]
            await self._rig.publish(self._rig.input, *messages)
            self.published += BATCH


@pytest.mark.exhaustive
async def test_nothing_is_lost_or_doubled_and_each_broker_keeps_the_order(
    rig: Rig, server: CentralServer
) -> None:
    load = Load(rig, bring_online(server)[0])
    async with AsyncExitStack() as stack:

        async def start() -> RunningBroker:
            return await stack.enter_async_context(rig.broker(server.url, BROKER_LOG_LEVEL="info"))

        old = [await start() for _ in range(BROKERS)]
        await rig.logged("ready", BROKERS)
        new = list[RunningBroker]()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load.run)
            for broker in old:
                await routed_more_than(rig, await rig.ready(rig.output))
                assert await terminate(broker, within=PATIENCE) == 0
                new.append(await start())
                await rig.logged("ready", BROKERS + len(new))
            load.stop()
        await eventually(partial(rig.ready, rig.output), until=partial(le, load.published))
        for broker in new:
            assert await terminate(broker, within=PATIENCE) == 0

    by_broker = defaultdict[str | None, list[int]](list)
    for message in await rig.take_all(rig.output):
        number = json.loads(message.body)["message_id"].removeprefix("m-")
        by_broker[message.header.properties.app_id].append(int(number))
    assert len(by_broker) > BROKERS, "the updates came too late to show anything"
    assert sorted(chain(*by_broker.values())) == list(range(load.published))
    for numbers in by_broker.values():
        assert numbers == sorted(numbers)


async def routed_more_than(rig: Rig, count: int) -> None:
    await eventually(
        partial(rig.ready, rig.output), "messages are routed", until=partial(lt, count)
    )
