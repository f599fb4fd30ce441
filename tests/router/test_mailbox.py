"""How much mail may wait, and in which order it is taken out."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from broker.amqp import Deliveries
from broker.core.messages import BrokerRegistered
from broker.router.mailbox import Mail, Mailbox


def deliveries(queue: str) -> Deliveries:
    return Deliveries(queue, [], lambda _: None)


def taken_out(mailbox: Mailbox) -> list[Mail]:
    mails: list[Mail] = []
    while True:
        try:
            mails.append(mailbox.receive_nowait())
        except trio.WouldBlock:
            return mails


async def test_deliveries_need_no_room_and_all_mail_keeps_its_order() -> None:
    mailbox = Mailbox(room=1)
    first, second, named = deliveries("first"), deliveries("second"), BrokerRegistered("b")
    mailbox.deliver(first)
    await mailbox.send(named)
    mailbox.deliver(second)
    assert taken_out(mailbox) == [first, named, second]


async def test_other_mail_waits_until_what_was_taken_out_is_dealt_with(
    nursery: trio.Nursery,
) -> None:
    mailbox = Mailbox(room=1)
    first, second = BrokerRegistered("first"), BrokerRegistered("second")
    await mailbox.send(first)
    nursery.start_soon(mailbox.send, second)
    await wait_all_tasks_blocked()
    assert taken_out(mailbox) == [first]
    await wait_all_tasks_blocked()
    with pytest.raises(trio.WouldBlock):
        mailbox.receive_nowait()
    mailbox.dealt_with(deliveries("in"))
    await wait_all_tasks_blocked()
    assert taken_out(mailbox) == [], "deliveries took no room"
    mailbox.dealt_with(first)
    assert await mailbox.receive() == second


async def test_who_is_cancelled_while_waiting_for_room_puts_in_nothing() -> None:
    mailbox = Mailbox(room=1)
    first = BrokerRegistered("first")
    await mailbox.send(first)
    with trio.move_on_after(0) as scope:
        await mailbox.send(BrokerRegistered("second"))
    assert scope.cancelled_caught
    assert taken_out(mailbox) == [first]
    mailbox.dealt_with(first)
    assert taken_out(mailbox) == []
