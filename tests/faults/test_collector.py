from uuid import uuid4

import trio

from tests.faults.collector import Collector
from tests.faults.taken import Taken, taken
from tests.lab.amqp_client import AmqpClient
from tests.lab.eventually import eventually
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.raw_content import Content


async def test_what_was_in_a_queue_before_it_was_deleted_and_after(rabbitmq: RabbitmqNode) -> None:
    queue = uuid4().hex
    collected: list[Taken] = []
    client = AmqpClient(rabbitmq.url)
    collector = Collector([rabbitmq.url], queue, collected)
    await client.declare(queue)
    await client.publish_content(queue, Content(b"1"), Content(b"2", routing_key=b"anything"))
    assert not await client.delete_if_empty(queue)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run)
        try:
            await eventually(lambda: len(collected) == 2)
            assert await client.delete_if_empty(queue)
            await client.declare(queue)
            await client.publish(queue, b"3")
            await eventually(lambda: len(collected) == 3)
        finally:
            collector.stop()

    await client.publish_content(queue, Content(b"4"))
    [rest] = map(taken, await client.take_all(queue))
    await client.delete(queue)

    assert [one.body for one in collected] == [b"1", b"2", b"3"]
    assert rest.body == b"4"
    assert rest.properties == {"content_type", "delivery_mode"}
