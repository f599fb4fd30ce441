from collections.abc import Sequence
from uuid import uuid4

import trio
from anyio.from_thread import start_blocking_portal

from tests.faults.collector import Collector
from tests.faults.queue_client import QueueClient
from tests.faults.raw_content import Content
from tests.faults.taken import Taken
from tests.lab.rabbitmq_node import RabbitmqNode

PATIENCE = 30.0


async def until_there_are(count: int, collected: Sequence[Taken]) -> None:
    while len(collected) < count:
        await trio.sleep(0.02)


async def test_what_was_in_a_queue_before_it_was_deleted_and_after(rabbitmq: RabbitmqNode) -> None:
    queue = uuid4().hex
    collected: list[Taken] = []
    with start_blocking_portal("asyncio") as portal, trio.fail_after(PATIENCE):
        client = QueueClient(portal, rabbitmq.url)
        collector = Collector(portal, [rabbitmq.url], queue, collected)
        await client.declare([queue])
        await client.publish(queue, [Content(b"1"), Content(b"2", routing_key=b"anything")])
        assert not await client.delete_if_empty(queue)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collector.run)
            try:
                await until_there_are(2, collected)
                assert await client.delete_if_empty(queue)
                await client.declare([queue])
                await client.publish(queue, [Content(b"3")])
                await until_there_are(3, collected)
            finally:
                collector.stop()

        await client.publish(queue, [Content(b"4")])
        rest = await client.take_all(queue)
        await client.delete([queue])

    assert [taken.body for taken in collected] == [b"1", b"2", b"3"]
    assert [taken.body for taken in rest] == [b"4"]
    assert rest[0].properties == {"content_type", "delivery_mode"}
