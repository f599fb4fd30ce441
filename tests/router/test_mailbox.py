"""What waits for what in the router's mail."""

import trio
from trio.testing import wait_all_tasks_blocked

from broker.amqp import Deliveries
from broker.router.mailbox import Mailbox


def deliveries(queue: str) -> Deliveries:
    return Deliveries(queue, [], lambda _: None)


async def test_deliveries_take_any_room_and_chat_is_kept_apart() -> None:
    mailbox = Mailbox(["in", "in-2"])
    arrived = [deliveries(queue) for queue in ("in", "meta", "in-2", "events") * 1000]
    for each in arrived:
        mailbox.deliver(each)
    assert [await mailbox.chat.receive() for _ in range(2000)] == arrived[::2]
    assert [await mailbox.registrations.receive() for _ in range(2000)] == arrived[1::2]


async def test_a_sign_of_life_comes_after_the_chat_messages_of_now(nursery: trio.Nursery) -> None:
    mailbox = Mailbox(["in"])
    waiting = deliveries("in")
    mailbox.deliver(waiting)
    nursery.start_soon(mailbox.answered)
    await wait_all_tasks_blocked()
    assert await mailbox.chat.receive() == waiting
    sign = await mailbox.chat.receive()
    assert isinstance(sign, trio.Event)
    sign.set()
