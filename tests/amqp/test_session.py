"""A session against a real RabbitMQ, judged by a plain client."""

import math
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest
import structlog
import trio
from pamqp.commands import Basic

from broker.amqp import (
    AmqpError,
    AmqpTimeouts,
    DeadLetterAddress,
    Deliveries,
    Delivery,
    Publishing,
    QueueUnavailableError,
    Session,
    SessionLostError,
    Settlement,
    UnroutableError,
    topology,
)
from broker.amqp.connection import HEARTBEAT
from tests.amqp.inbox import APP_ID, Inbox, forwarded_to
from tests.amqp.rig import CLOSING, Rig, consuming, losing
from tests.lab import raw_content
from tests.lab.eventually import eventually
from tests.lab.proxy import Proxy, open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode
from tests.lab.raw_content import Content

FULL_WITH_ONE: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}


def numbered(count: int) -> list[bytes]:
    return [str(number).encode() for number in range(count)]


# --- the stream of messages


async def test_settles_what_it_consumes_in_order_and_leaves_nothing(rig: Rig) -> None:
    bodies = numbered(2_000)
    inbox = rig.forwarding()
    async with rig.open() as session:
        await rig.raw.publish(rig.input, *bodies)
        async with consuming(session, rig.input, inbox):
            await inbox.holds(len(bodies))
        assert await rig.raw.ready(rig.output) == len(bodies)

    assert inbox.bodies == bodies
    assert not any(delivery.redelivered for delivery in inbox.deliveries)
    # What was delivered and not acknowledged would be ready again by now.
    assert await rig.raw.ready(rig.input) == 0
    assert await rig.bodies(rig.output, len(bodies)) == bodies


async def test_holds_no_more_than_the_prefetch(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, *[b"x"] * 5)
    inbox = Inbox()
    async with rig.consuming(inbox, prefetch=3):
        await inbox.holds(3)
        assert await rig.raw.ready(rig.input) == 2
        inbox.publish([Settlement(inbox.deliveries[0])])
        await inbox.holds(4)
        assert await rig.raw.ready(rig.input) == 1
        inbox.publish([Settlement(delivery) for delivery in inbox.deliveries[1:]])
        await inbox.holds(5)
        inbox.publish([Settlement(inbox.deliveries[4])])


async def test_acknowledges_nothing_behind_an_unsettled_delivery(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, b"a", b"b", b"c")
    inbox = Inbox()
    with losing(f"deliveries of '{rig.input}' were not settled in time"):
        async with rig.consuming(inbox, drain_timeout=0.2):
            await inbox.holds(3)
            inbox.publish([Settlement(delivery) for delivery in inbox.deliveries[1:]])

    messages = await rig.raw.take(rig.input, 3)
    assert [message.body for message in messages] == [b"a", b"b", b"c"]
    assert all(message.redelivered for message in messages)


async def test_large_and_empty_bodies_arrive_whole(rig: Rig) -> None:
    bodies = [bytes(range(256)) * 5_000, b"", b"\x00\xce\xff", b"x" * 131_064, b"y" * 131_065]
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, *bodies)
    assert (await rig.forward(len(bodies))).bodies == bodies
    assert await rig.bodies(rig.output, len(bodies)) == bodies


# --- what all listen to


@pytest.fixture
def listening(rig: Rig) -> Rig:
    return rig.with_parameters(fanouts=(f"{rig.input}_events",))


def to_all(rig: Rig, body: bytes) -> Publishing:
    return Publishing("", body, APP_ID, exchange=rig.parameters.fanouts[0])


async def test_each_session_gets_a_copy_of_what_is_published_to_a_fanout_exchange(
    listening: Rig,
) -> None:
    [fanout] = listening.parameters.fanouts
    first, second = (Inbox(Settlement) for _ in range(2))
    async with (
        listening.open() as one,
        listening.open() as other,
        consuming(one, fanout, first),
        consuming(other, fanout, second),
    ):
        assert fanout in one.consumed
        for publisher, body in ((one, b"1"), (other, b"2")):
            await publisher.publish([to_all(listening, body)])
        for inbox in (first, second):
            await inbox.holds(2)
            assert sorted(inbox.bodies) == [b"1", b"2"]
            assert {delivery.source for delivery in inbox.deliveries} == {fanout}


async def test_what_is_published_while_nobody_listens_is_for_nobody(listening: Rig) -> None:
    inbox = Inbox(Settlement)
    for body in (b"1", b"2"):
        async with listening.open() as session:
            await session.publish([to_all(listening, body)])
            async with consuming(session, listening.parameters.fanouts[0], inbox):
                await session.publish([to_all(listening, body * 2)])
                await inbox.holds(int(body))
    assert inbox.bodies == [b"11", b"22"]


async def test_an_announcement_is_confirmed_before_its_delivery_is_acknowledged(
    listening: Rig,
) -> None:
    def announced(delivery: Delivery) -> Settlement:
        return Settlement(delivery, announcement=to_all(listening, delivery.body))

    told, inbox = Inbox(Settlement), Inbox(announced)
    async with (
        listening.consuming(inbox) as session,
        consuming(session, listening.parameters.fanouts[0], told),
    ):
        await listening.raw.publish(listening.input, *numbered(50))
        await told.holds(50)
    assert told.bodies == inbox.bodies
    assert await listening.raw.ready(listening.input) == 0


# --- what is published


async def test_passes_on_only_headers_of_the_allow_list(rig: Rig) -> None:
    properties = Basic.Properties(
        headers={
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": 5,
            "CC": [rig.letters],
            "BCC": [rig.letters],
            "x-other": "x",
        },
        correlation_id="correlation",
        user_id="guest",
        reply_to="anybody",
        message_id="the sender's",
        app_id="the sender",
        priority=3,
        expiration="60000",
        message_type="kind",
        content_encoding="gzip",
        content_type="text/plain",
    )
    for queue in rig.queues:
        await rig.raw.declare(queue)
    await rig.raw.publish(rig.input, b"{}", properties=properties)
    copies_of_the_sender = await rig.raw.ready(rig.letters)
    await rig.forward(1)
    assert await rig.raw.ready(rig.letters) == copies_of_the_sender

    (message,) = await rig.raw.take(rig.output, 1)
    assert dict(message.header.properties) == {
        **dict(Basic.Properties()),
        "content_type": "application/json",
        "headers": {"traceparent": properties.headers["traceparent"]},  # type: ignore[index]
        "delivery_mode": 2,
        "correlation_id": "correlation",
        "message_id": message.header.properties.message_id,
        "timestamp": message.header.properties.timestamp,
        "app_id": APP_ID,
    }
    assert message.header.properties.message_id != "the sender's"


async def test_a_settlement_that_cannot_be_published_ends_the_session(rig: Rig) -> None:
    def take(arrived: Deliveries) -> None:
        unsendable = Publishing(rig.output, b"", app_id="x" * 300)
        arrived.publish([Settlement(one, unsendable) for one in arrived.deliveries])

    with losing("publishing failed"):
        async with rig.open() as session:
            await rig.raw.publish(rig.input, b"a")
            await session.consume(rig.input, take)
    assert await rig.raw.ready(rig.input) == 1


@pytest.mark.parametrize("count", [1, 400])
async def test_a_queue_deleted_under_way_is_created_again(rig: Rig, count: int) -> None:
    bodies = numbered(count)
    async with (
        open_proxy(rig.endpoint.port) as proxy,
        rig.at(port=proxy.port).open() as session,
    ):
        await rig.raw.delete(rig.output)
        connections = proxy.connections
        await session.publish([rig.to_output(body) for body in bodies])
        # However many came back: a connection for each would be an onslaught.
        assert proxy.connections - connections <= 2
    assert sorted(await rig.bodies(rig.output, count)) == sorted(bodies)


@pytest.fixture
def nothing_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    async def do_nothing(*_: object, **__: object) -> None:
        pass

    monkeypatch.setattr(topology, "ensure_queue", do_nothing)


@pytest.mark.usefixtures("nothing_is_created")
async def test_an_unroutable_message_has_a_second_choice(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.declare(rig.letters)
    await rig.raw.publish(rig.input, b"a")
    first_choice, fallback = rig.to_output(b"first"), DeadLetterAddress(rig.letters, APP_ID)
    inbox = Inbox(lambda delivery: Settlement(delivery, first_choice, fallback=fallback))
    async with rig.consuming(inbox):
        await inbox.holds(1)
    assert await rig.raw.ready(rig.input) == 0
    assert await rig.bodies(rig.letters, 1) == [b"a"]


async def test_a_dead_letter_is_counted_once_it_is_confirmed(rig: Rig) -> None:
    tally = rig.parameters.tally
    await rig.raw.declare(rig.input)
    await rig.raw.declare(rig.letters, **FULL_WITH_ONE)
    await rig.raw.publish(rig.letters, b"full")
    await rig.raw.publish(rig.input, b"a")
    inbox = Inbox(
        lambda delivery: Settlement(
            delivery, Publishing(rig.letters, delivery.body, APP_ID), rejected="too_deep"
        )
    )
    with structlog.testing.capture_logs() as lines:
        async with rig.consuming(inbox):
            await inbox.holds(1)
            await trio.sleep(0.5)
            assert tally.dead_lettered["too_deep"] == 0
            assert "dead_lettered" not in [line["event"] for line in lines]
            await rig.raw.take(rig.letters, 1)
    assert tally.dead_lettered["too_deep"] == 1
    assert [note.queue for note in tally.latest_dead_letters] == [rig.input]
    assert "dead_lettered" in [line["event"] for line in lines]


@pytest.mark.usefixtures("nothing_is_created")
async def test_an_unroutable_message_without_second_choice_stays_in_its_queue(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, b"a")
    inbox = rig.forwarding()
    with losing("not settled in time"):
        async with rig.consuming(inbox, drain_timeout=0.2) as session:
            await inbox.holds(1)
            await eventually(lambda: session.tried_again == {rig.output: 1})
    assert (await rig.raw.take(rig.input, 1))[0].redelivered


@pytest.mark.usefixtures("nothing_is_created")
async def test_publishing_to_a_queue_that_cannot_be_created_is_an_error_of_its_own(
    rig: Rig,
) -> None:
    async with rig.open() as session:
        with pytest.raises(UnroutableError):
            await session.publish([rig.to_output(b"a")])


async def test_what_a_full_queue_refuses_is_held_and_tried_again(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.declare(rig.output, **FULL_WITH_ONE)
    await rig.raw.publish(rig.input, b"fits", b"refused")
    inbox = rig.forwarding()
    async with rig.consuming(inbox):
        await inbox.holds(2)
        assert await rig.bodies(rig.output, 1) == [b"fits"]
        assert await rig.bodies(rig.output, 1) == [b"refused"]
    assert await rig.raw.ready(rig.input) == 0


async def test_what_is_never_taken_is_never_acknowledged(rig: Rig) -> None:
    await rig.raw.declare(rig.input)
    await rig.raw.declare(rig.output, **FULL_WITH_ONE)
    await rig.raw.publish(rig.output, b"fills the queue")
    await rig.raw.publish(rig.input, b"refused")
    inbox = rig.forwarding()
    with losing("not settled in time"):
        async with rig.consuming(inbox, drain_timeout=0.5):
            await inbox.holds(1)
    assert await rig.bodies(rig.input, 1) == [b"refused"]


# --- queues


@pytest.mark.parametrize(
    "arguments", [{"x-queue-type": "quorum"}, {"x-max-length": 10, "x-message-ttl": 600_000}]
)
async def test_uses_queues_as_they_are(rig: Rig, arguments: dict[str, str | int]) -> None:
    await rig.raw.declare(rig.input, **arguments)
    await rig.raw.declare(rig.output, **arguments)
    await rig.raw.publish(rig.input, b"a")
    await rig.forward(1)
    assert await rig.bodies(rig.output, 1) == [b"a"]


async def test_creates_missing_queues_as_peers_do(rig: Rig) -> None:
    async with rig.open():
        for queue in rig.queues:
            assert await rig.raw.ready(queue) == 0  # it exists
            await rig.raw.declare(queue)  # and RabbitMQ refuses a declaration that differs


async def test_both_sides_promise_signs_of_life(rig: Rig, rabbitmq: RabbitmqNode) -> None:
    """Without them, a peer that vanished is noticed by TCP alone, after minutes."""
    name = f"alive {uuid4().hex}"
    async with rig.consuming(Inbox(), name=name):
        listed = await rabbitmq.ctl("list_connections", "timeout", "client_properties")
    promised = [line.split("\t")[0] for line in listed.splitlines() if name in line]
    assert promised == [str(HEARTBEAT)] * 2


# --- sessions that cannot be opened


@asynccontextmanager
async def peer_that_says(answer: bytes, then_hangs_up: bool) -> AsyncIterator[int]:
    """Answer whatever comes with the same bytes. Gives the port."""

    async def serve(stream: trio.SocketStream) -> None:
        if answer:
            await stream.receive_some()
            await stream.send_all(answer)
        if not then_hangs_up:
            await trio.sleep_forever()
        await stream.aclose()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


START = raw_content.frame(1, 0, b"\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US")
EXTERNAL = raw_content.frame(
    1, 0, b"\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x11AMQPLAIN EXTERNAL\0\0\0\x05en_US"
)
SECRET = "s3cr3t-pass-w0rd"


@pytest.mark.parametrize(
    ("answer", "then_hangs_up", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "not speak AMQP 0-9-1 on this port, but HTTP"),
        (b"\x15\x03\x01\0\x02\x02\x46", True, "but TLS; AMQP_URL must begin with amqps://"),
        (b"AMQP\x00\x01\x00\x00", True, "AMQP 0-9-1, but another version of the protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", True, "the peer does not speak AMQP 0-9-1; connect to"),
        (b"", True, "the peer closed the connection during the handshake"),
        (START, True, "the peer closed the connection during the handshake"),
        (EXTERNAL, False, "it offers AMQPLAIN and EXTERNAL; let auth_mechanisms"),
        (START[:9], True, "connection"),
        (START, False, "no answer in time"),
        (b"", False, "no answer in time"),
    ],
    ids=[
        *("http", "tls", "amqp-1.0", "ssh", "hangs-up", "hangs-up-after-start", "other-logins"),
        "hangs-up-in-a-frame",
        *("falls-silent", "silent"),
    ],
)
async def test_a_peer_that_is_no_rabbitmq(
    *,
    rig: Rig,
    caplog: pytest.LogCaptureFixture,
    answer: bytes,
    then_hangs_up: bool,
    text: str,
) -> None:
    if not then_hangs_up:
        rig = rig.with_parameters(timeouts=AmqpTimeouts(connect=0.2))
    async with peer_that_says(answer, then_hangs_up) as port:
        await cannot_be_opened(rig.at(port=port, password=SECRET), text, caplog)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"password": SECRET}, "RabbitMQ refused the login (ACCESS_REFUSED"),
        ({"user": "nobody", "password": SECRET}, "RabbitMQ refused the login (ACCESS_REFUSED"),
        ({"vhost": "no such"}, "vhost no such not found"),
        ({"port": 1}, "connection refused"),
        ({"host": "no-such-host.invalid"}, "connecting to amqp://guest@no-such-host.invalid"),
    ],
)
async def test_says_why_a_session_cannot_be_opened(
    rig: Rig, caplog: pytest.LogCaptureFixture, changes: dict[str, str | int], text: str
) -> None:
    await cannot_be_opened(rig.at(**changes), text, caplog)


async def cannot_be_opened(rig: Rig, text: str, caplog: pytest.LogCaptureFixture) -> None:
    with losing("^connecting to ") as caught:
        async with rig.open():
            pytest.fail("it cannot have been opened")
    assert text in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    assert SECRET not in told
    assert "guest:guest" not in told


async def test_any_credentials_and_vhost_are_understood(rig: Rig, rabbitmq: RabbitmqNode) -> None:
    user, password, vhost = "ü@:/ %41", "p%40:/@ ä#?&", "a/b%2F?#ß"
    await rabbitmq.ctl("add_vhost", vhost)
    await rabbitmq.ctl("add_user", user, password)
    await rabbitmq.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    async with rig.at(user=user, password=password, vhost=vhost).open():
        pass


# --- loss


async def test_a_cancelled_consumer_ends_alone(rig: Rig) -> None:
    inbox = Inbox(forwarded_to(rig.letters))

    async def consume(session: Session) -> None:
        with pytest.raises(QueueUnavailableError) as caught:
            await session.consume(rig.input, Inbox().take)
        assert str(caught.value) == f"RabbitMQ cancelled the consumer of {rig.input!r}"

    async with rig.open() as session:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(consume, session)
            await eventually(lambda: rig.input in session.consumed)
            await rig.raw.delete(rig.input)
        assert (session.consumed, session.in_flight) == (frozenset(), 0)
        async with consuming(session, rig.output, inbox):
            await rig.raw.publish(rig.output, *numbered(3))
            await inbox.holds(3)
    assert await rig.raw.ready(rig.letters) == 3


@pytest.mark.usefixtures("nothing_is_created")
@pytest.mark.parametrize("is_held", [False, True])
async def test_what_waits_for_a_queue_holds_up_no_neighbour(*, rig: Rig, is_held: bool) -> None:
    """It waits without an answer, or it is tried again."""
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, *(b"waits", b"goes on") * 3)
    inbox = Inbox()
    with losing("not settled in time"):
        async with rig.consuming(inbox, prefetch=4, drain_timeout=0.2) as session:
            await inbox.holds(4)
            waiting = [one for one in inbox.deliveries if one.body == b"waits"]
            inbox.publish([Settlement(one, rig.to_output(b"x")) for one in waiting if is_held])
            inbox.publish([Settlement(one) for one in inbox.deliveries if one not in waiting])
            # Room for two more: the neighbours of what waits are acknowledged.
            await inbox.holds(6)
            await eventually(lambda: session.on_hold == {rig.input: 2})
    assert await rig.bodies(rig.input, 4) == [b"waits", b"waits", b"waits", b"goes on"]


async def test_a_queue_that_is_gone_is_created_again_and_consumed(rig: Rig) -> None:
    inbox = Inbox(Settlement)
    async with rig.open() as session:
        await rig.raw.delete(rig.input)
        async with consuming(session, rig.input, inbox):
            await rig.raw.publish(rig.input, b"a")
            await inbox.holds(1)


async def close_all_connections(node: RabbitmqNode, _proxy: Proxy) -> None:
    await node.ctl("close_all_connections", "closed by the operator")


async def cut(_node: RabbitmqNode, proxy: Proxy) -> None:
    proxy.cut()
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("kill", [close_all_connections, cut])
async def test_unsettled_deliveries_of_a_lost_session_come_again_in_order(
    rig: Rig, rabbitmq: RabbitmqNode, kill: Callable[[RabbitmqNode, Proxy], Awaitable[None]]
) -> None:
    bodies = numbered(200)
    inbox = Inbox()
    forwarded = forwarded_to(rig.output)
    await rig.raw.declare(rig.input)
    await rig.raw.publish(rig.input, *bodies)
    async with open_proxy(rig.endpoint.port) as proxy:
        with losing():
            async with rig.at(port=proxy.port).consuming(inbox):
                await inbox.holds(200)
                inbox.publish([forwarded(delivery) for delivery in inbox.deliveries[:100]])
                await kill(rabbitmq, proxy)
                await trio.sleep_forever()
        # Too late, and harmless.
        inbox.publish([Settlement(delivery) for delivery in inbox.deliveries])
        inbox.publish([forwarded(delivery) for delivery in inbox.deliveries])

    again = await rig.forward(100)
    left = len(again.bodies)
    assert again.bodies == bodies[-left:]
    assert all(delivery.redelivered for delivery in again.deliveries)
    assert set(await rig.bodies(rig.output, await rig.raw.ready(rig.output))) == set(bodies)


async def test_losing_the_connection_releases_all_who_publish(rig: Rig) -> None:
    publishings = [rig.to_output(b"a" * 10_000)] * 1_000
    released = []

    async def publish(session: Session, started: trio.Event) -> None:
        started.set()
        try:
            await session.publish(publishings)
        except AmqpError as error:
            released.append(error)
            raise

    async with open_proxy(rig.endpoint.port) as proxy:
        with losing():
            async with (
                rig.at(port=proxy.port).open() as session,
                trio.open_nursery() as nursery,
            ):
                proxy.stall()
                for _ in range(3):
                    started = trio.Event()
                    nursery.start_soon(publish, session, started)
                    await started.wait()
                await trio.sleep(0.1)
                proxy.cut()
                await trio.sleep_forever()
    assert len(released) == 3


async def test_a_session_without_confirms_is_lost(rig: Rig) -> None:
    timeouts = AmqpTimeouts(confirm=0.2)
    async with open_proxy(rig.endpoint.port) as proxy:
        with losing("^RabbitMQ confirmed nothing for 0.2 s$"):
            async with rig.at(port=proxy.port).open(timeouts=timeouts) as session:
                await trio.sleep(0.4)  # nothing is awaited, so nothing is missing
                await session.publish([rig.to_output(b"confirmed")])
                proxy.stall()
                await session.publish([rig.to_output(b"never confirmed")])


async def test_a_session_with_a_silent_rabbitmq_is_lost(rig: Rig) -> None:
    """Signs of life come every five seconds; here they come too late."""
    with losing("^RabbitMQ was silent for 1 s$"):
        async with rig.open(timeouts=AmqpTimeouts(silence=1.0)):
            await trio.sleep_forever()


# --- the end


async def test_cancelling_a_consumer_settles_what_it_holds_and_it_can_start_again(
    rig: Rig,
) -> None:
    inbox = Inbox()
    async with rig.open() as session:
        await rig.raw.publish(rig.input, b"1", b"2", b"3")

        async with trio.open_nursery() as nursery, consuming(session, rig.input, inbox):
            await inbox.holds(3)

            async def settle_late() -> None:
                await trio.sleep(0.2)
                inbox.publish([forwarded_to(rig.output)(held) for held in inbox.deliveries])

            nursery.start_soon(settle_late)

        # Acknowledged though the session lives: what is published now is the first in the queue.
        await rig.raw.publish(rig.input, b"4")
        assert await rig.raw.ready(rig.input) == 1
        assert await rig.raw.ready(rig.output) == 3

        again = rig.forwarding()
        async with consuming(session, rig.input, again):
            await again.holds(1)
        assert again.bodies == [b"4"]
        assert not again.deliveries[0].redelivered

    assert await rig.raw.ready(rig.input) == 0
    assert await rig.raw.ready(rig.output) == 4


async def test_what_arrives_while_a_consumer_is_cancelled_is_taken_and_settled(rig: Rig) -> None:
    count = 200
    inbox = rig.forwarding()
    async with rig.open(prefetch=50) as session:
        await rig.raw.publish(rig.input, *numbered(count))
        async with consuming(session, rig.input, inbox):
            pass  # cancelled as soon as it consumes
        taken = len(inbox.deliveries)
        assert await rig.raw.ready(rig.output) == taken
        left = await rig.raw.take(rig.input, count - taken)
        assert [int(one.body) for one in left] == list(range(taken, count))
        assert not any(one.redelivered for one in left)


async def test_one_who_fails_to_take_is_the_callers_error(rig: Rig) -> None:
    class BugError(Exception):
        pass

    def take(_: Deliveries) -> None:
        raise BugError

    with pytest.RaisesGroup(BugError, flatten_subgroups=True):
        async with rig.open() as session:
            await rig.raw.publish(rig.input, b"1")
            await session.consume(rig.input, take)
    assert await rig.raw.ready(rig.input) == 1


async def test_cancelling_a_publish_ends_the_session(rig: Rig) -> None:
    await rig.raw.declare(rig.output, **FULL_WITH_ONE)
    await rig.raw.publish(rig.output, b"fills the queue")
    async with rig.open() as session:
        with trio.move_on_after(0.2) as scope:
            await session.publish([rig.to_output(b"a")])
        assert scope.cancelled_caught
        with pytest.raises(AmqpError, match="the session has ended"):
            await session.publish([rig.to_output(b"a")])


async def test_what_is_returned_after_the_end_complains_about_nothing(rig: Rig) -> None:
    for delay in (0.0, 0.001, 0.003, 0.01, 0.02, 0.04):
        async with rig.open() as session:
            await rig.raw.delete(rig.output)
            with trio.move_on_after(delay):
                await session.publish([rig.to_output(b"a")] * 50)


async def test_cancelling_while_a_session_opens(rig: Rig) -> None:
    for delay in (0.0, 0.001, 0.003, 0.01, 0.02):
        with trio.fail_after(CLOSING), trio.move_on_after(delay):
            async with rig.open():
                await trio.sleep_forever()


async def test_a_black_hole_does_not_hold_up_the_end(rig: Rig) -> None:
    closing_by = math.inf
    inbox = rig.forwarding()
    async with open_proxy(rig.endpoint.port) as proxy:
        with losing():
            async with rig.at(port=proxy.port).open(drain_timeout=0.2) as session:
                await rig.raw.publish(rig.input, b"1")
                async with consuming(session, rig.input, inbox):
                    proxy.stall()
                    closing_by = trio.current_time() + 0.2 + CLOSING
    assert trio.current_time() < closing_by


async def test_much_that_is_unsent_does_not_hold_up_the_end(rig: Rig) -> None:
    """More than all buffers between here and there hold; the farewell would come behind it."""
    closing_by = math.inf
    async with open_proxy(rig.endpoint.port) as proxy:
        with suppress(SessionLostError):
            async with rig.at(port=proxy.port).open() as session:
                proxy.stall()
                with trio.move_on_after(1.0):
                    await session.publish([rig.to_output(bytes(64 * 2**20))])
                closing_by = trio.current_time() + CLOSING
    assert trio.current_time() < closing_by < math.inf


async def test_a_black_hole_does_not_hold_up_the_end_while_opening(rig: Rig) -> None:
    async with open_proxy(rig.endpoint.port) as proxy:
        proxy.stall()
        with trio.fail_after(CLOSING), trio.move_on_after(0.3):
            async with rig.at(port=proxy.port).open():
                pytest.fail("it cannot have been opened")


# --- odd properties and names

SOUND = raw_content.flags(0)
ODD = (
    raw_content.flags(1 << 15) + b"\x04\xff\xfe\xfa\xfb",  # no UTF-8
    raw_content.header_table(b"\xff\xfe", b"I\0\0\0\x01"),  # nor is the name of this header
    raw_content.flags(1 << 6) + struct.pack(">Q", 17 * 10**14),  # a timestamp in microseconds
    raw_content.flags(1 << 6) + b"\xff" * 8,  # and one beyond all years
    raw_content.header_table(b"h", b"T" + b"\xff" * 8),
    raw_content.header_table(b"h", raw_content.nested_table(15_000)),
)


async def test_properties_and_routing_keys_that_nobody_uses_are_not_judged(rig: Rig) -> None:
    contents = [
        Content(b"before", SOUND),
        *(Content(body, properties) for properties in ODD for body in (b"p" * 200_000, b"")),
        Content(b"no UTF-8", SOUND, routing_key=b"\xff\xfe"),
        Content(b"control", SOUND, routing_key=b"\0 \x1b"),
    ]
    await rig.raw.declare(rig.input)
    await rig.raw.publish_content(rig.input, *contents)
    inbox = await rig.forward(len(contents))
    assert [(one.body, one.raw_properties) for one in inbox.deliveries] == [
        (content.body, content.properties) for content in contents
    ]
    assert {delivery.properties_error for delivery in inbox.deliveries} == {None}
    assert await rig.raw.ready(rig.input) == 0
