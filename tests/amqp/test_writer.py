"""The one writer: everything in order, together what came together, and known when written."""

import asyncio

from aiormq.abc import ChannelFrame

from broker.amqp.writer import FrameWriter


def test_writes_in_order_and_together_what_came_together() -> None:
    async def act() -> list[bytes]:
        queue = asyncio.Queue[ChannelFrame](1)
        writer = FrameWriter(queue)
        await writer.flushed()  # nothing was to be written
        running = asyncio.create_task(writer.run())
        writes = []

        writer.write(b"1")
        writer.write(b"2")
        first = await queue.get()
        writes.append(first.payload)
        # The socket takes no more: the rest waits, and is written at once.
        writer.write(b"3")
        writer.write(b"4")
        await asyncio.sleep(0)
        assert queue.empty()
        first.drain()
        second = await queue.get()
        writes.append(second.payload)

        flushed = asyncio.create_task(writer.flushed())
        await asyncio.sleep(0)
        assert not flushed.done()
        second.drain()
        await flushed

        running.cancel()
        await asyncio.wait([running])
        return writes

    assert asyncio.run(act()) == [b"12", b"34"]


def test_is_not_flushed_while_something_came_after_the_last_write() -> None:
    async def act() -> None:
        queue = asyncio.Queue[ChannelFrame](1)
        writer = FrameWriter(queue)
        running = asyncio.create_task(writer.run())
        writer.write(b"1")
        first = await queue.get()
        writer.write(b"2")
        flushed = asyncio.create_task(writer.flushed())
        first.drain()
        second = await queue.get()
        await asyncio.sleep(0)
        assert not flushed.done()
        second.drain()
        await flushed
        running.cancel()
        await asyncio.wait([running])

    asyncio.run(act())
