"""A session against a real RabbitMQ, judged by a plain client."""

import math
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import msgspec
import pytest
import structlog
import trio
from pamqp.commands import Basic

from broker.amqp import (
    AmqpError,
    DeadLetterAddress,
    Deliveries,
    Delivery,
    Publishing,
    QueueUnavailableError,
    Rabbit,
    Session,
    SessionLostError,
    SessionParameters,
    Settlement,
    UnroutableError,
    confirm_watch,
    topology,
)
from broker.amqp.connection import HEARTBEAT
from broker.amqp.wire.properties import FORWARDED_HEADERS
from broker.sandbox.rabbitmq import RabbitmqNode
from tests.amqp.conftest import Queues
from tests.amqp.inbox import APP_ID, Inbox, forwarded_to
from tests.amqp.raw_amqp import RawRabbitmq
from tests.faults import raw_content
from tests.faults.proxy import Proxy, open_proxy

# Nothing here takes this long; it turns a hang into a failure.
PATIENCE = 30.0
# What `open_session` promises for closing, and as much again for a busy machine.
CLOSING = 4.0
FULL_WITH_ONE: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}


@asynccontextmanager
async def consuming(session: Session, queue: str, inbox: Inbox) -> AsyncIterator[None]:
    """Consume for the length of the block, and stop as a consumer is stopped."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            await nursery.start(session.consume, queue, inbox.take)
            yield
            nursery.cancel_scope.cancel()


def through(proxy: Proxy, parameters: SessionParameters) -> SessionParameters:
    return msgspec.structs.replace(
        parameters, endpoint=replace(parameters.endpoint, port=proxy.port)
    )


async def lost(open_and_use: Callable[[], Awaitable[None]]) -> SessionLostError:
    """Return how a session was lost."""
    with trio.fail_after(PATIENCE), pytest.raises(SessionLostError) as caught:
        await open_and_use()
    return caught.value


# --- the stream of messages


async def test_settles_what_it_consumes_in_order_and_leaves_nothing(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    bodies = [str(number).encode() for number in range(2_000)]
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, *bodies)
        async with consuming(session, queues.input, inbox):
            await inbox.holds(len(bodies))
        assert await raw.ready(queues.output) == len(bodies)

    assert inbox.bodies == bodies
    assert not any(delivery.redelivered for delivery in inbox.deliveries)
    # What was delivered and not acknowledged would be ready again by now.
    assert await raw.ready(queues.input) == 0
    assert [message.body for message in await raw.take(queues.output, len(bodies))] == bodies


async def test_holds_no_more_than_the_prefetch(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    inbox = Inbox()
    few = msgspec.structs.replace(parameters, prefetch=3)
    async with rabbit.open_session(few) as session:
        await raw.publish(queues.input, *[b"x"] * 5)
        async with consuming(session, queues.input, inbox):
            await inbox.holds(3)
            assert await raw.ready(queues.input) == 2
            inbox.publish([Settlement(inbox.deliveries[0])])
            await inbox.holds(4)
            assert await raw.ready(queues.input) == 1
            inbox.publish([Settlement(delivery) for delivery in inbox.deliveries[1:]])
            await inbox.holds(5)
            inbox.publish([Settlement(inbox.deliveries[4])])


async def test_acknowledges_nothing_behind_an_unsettled_delivery(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    inbox = Inbox()
    impatient = msgspec.structs.replace(parameters, drain_timeout=0.2)

    async def hold_the_first() -> None:
        async with rabbit.open_session(impatient) as session:
            await raw.publish(queues.input, b"a", b"b", b"c")
            async with consuming(session, queues.input, inbox):
                await inbox.holds(3)
                inbox.publish([Settlement(delivery) for delivery in inbox.deliveries[1:]])

    await lost(hold_the_first)

    messages = await raw.take(queues.input, 3)
    assert [message.body for message in messages] == [b"a", b"b", b"c"]
    assert all(message.redelivered for message in messages)


async def test_large_and_empty_bodies_arrive_whole(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    bodies = [bytes(range(256)) * 5_000, b"", b"\x00\xce\xff", b"x" * 131_064, b"y" * 131_065]
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, *bodies)
        async with consuming(session, queues.input, inbox):
            await inbox.holds(len(bodies))

    assert inbox.bodies == bodies
    assert [message.body for message in await raw.take(queues.output, len(bodies))] == bodies


async def test_several_queues_at_once(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    first, second = (Inbox(forwarded_to(queues.output)) for _ in range(2))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"1")
        await raw.publish(queues.parked, b"2")
        async with (
            consuming(session, queues.input, first),
            consuming(session, queues.parked, second),
        ):
            await first.holds(1)
            await second.holds(1)

    assert [
        (delivery.source, delivery.body) for delivery in first.deliveries + second.deliveries
    ] == [
        (queues.input, b"1"),
        (queues.parked, b"2"),
    ]
    assert len(await raw.take(queues.output, 2)) == 2


# --- what all listen to


async def test_each_session_gets_a_copy_of_what_is_published_to_a_fanout_exchange(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues
) -> None:
    fanout = f"{queues.input}_events"
    listening = msgspec.structs.replace(parameters, fanouts=(fanout,))
    first, second = (Inbox(Settlement) for _ in range(2))
    async with (
        rabbit.open_session(listening) as one,
        rabbit.open_session(listening) as other,
        consuming(one, fanout, first),
        consuming(other, fanout, second),
    ):
        assert fanout in one.consumed
        for publisher, body in ((one, b"1"), (other, b"2")):
            await publisher.publish([Publishing("", body, APP_ID, exchange=fanout)])
        for inbox in (first, second):
            with trio.fail_after(PATIENCE):
                await inbox.holds(2)
            assert sorted(inbox.bodies) == [b"1", b"2"]
            assert {delivery.source for delivery in inbox.deliveries} == {fanout}


async def test_what_is_published_while_nobody_listens_is_for_nobody(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues
) -> None:
    fanout = f"{queues.input}_events"
    listening = msgspec.structs.replace(parameters, fanouts=(fanout,))
    inbox = Inbox(Settlement)
    for body in (b"1", b"2"):
        async with rabbit.open_session(listening) as session:
            with trio.fail_after(PATIENCE):
                await session.publish([Publishing("", body, APP_ID, exchange=fanout)])
            async with consuming(session, fanout, inbox):
                await session.publish([Publishing("", body * 2, APP_ID, exchange=fanout)])
                await inbox.holds(int(body))
    assert inbox.bodies == [b"11", b"22"]


async def test_an_announcement_is_confirmed_before_its_delivery_is_acknowledged(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    fanout = f"{queues.input}_events"
    listening = msgspec.structs.replace(parameters, fanouts=(fanout,))

    def announced(delivery: Delivery) -> Settlement:
        return Settlement(
            delivery, announcement=Publishing("", delivery.body, APP_ID, exchange=fanout)
        )

    told, inbox = Inbox(Settlement), Inbox(announced)
    async with (
        rabbit.open_session(listening) as session,
        consuming(session, fanout, told),
        consuming(session, queues.input, inbox),
    ):
        await raw.publish(queues.input, *(str(number).encode() for number in range(50)))
        with trio.fail_after(PATIENCE):
            await told.holds(50)
    assert told.bodies == inbox.bodies
    assert await raw.ready(queues.input) == 0


# --- what is published


async def test_publishes_persistent_messages_that_say_who_and_when(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)  # AMQP counts whole seconds
    async with rabbit.open_session(parameters) as session:
        await session.publish([Publishing(queues.output, b"{}", APP_ID) for _ in range(50)])

    properties = [message.header.properties for message in await raw.take(queues.output, 50)]
    for its in properties:
        assert its.delivery_mode == 2
        assert its.content_type == "application/json"
        assert its.app_id == APP_ID
        assert its.timestamp is not None
        assert before <= its.timestamp <= datetime.now(UTC)
    assert len({its.message_id for its in properties}) == 50


async def test_passes_on_only_headers_of_the_allow_list(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    inbox = Inbox(forwarded_to(queues.output))
    properties = Basic.Properties(
        headers={
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": 5,
            "CC": [queues.parked],
            "BCC": [queues.parked],
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
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"{}", properties=properties)
        copies_of_the_sender = await raw.ready(queues.parked)
        async with consuming(session, queues.input, inbox):
            await inbox.holds(1)
        assert await raw.ready(queues.parked) == copies_of_the_sender

    (message,) = await raw.take(queues.output, 1)
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


async def test_a_settlement_that_cannot_be_published_ends_the_session(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    def take(arrived: Deliveries) -> None:
        unsendable = Publishing(queues.output, b"", app_id="x" * 300)
        arrived.publish([Settlement(one, unsendable) for one in arrived.deliveries])

    async def use() -> None:
        async with rabbit.open_session(parameters) as session:
            await raw.publish(queues.input, b"a")
            await session.consume(queues.input, take)

    assert "publishing failed" in str(await lost(use))
    assert await raw.ready(queues.input) == 1


@pytest.mark.parametrize("header", FORWARDED_HEADERS)
async def test_a_huge_forwarded_header_does_not_break_the_connection(
    *,
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    header: str,
) -> None:
    # As large as a content header may be: one that grows on the way would not fit any more.
    huge = Basic.Properties(headers={header: "x" * 131_000})
    longest = Basic.Properties(headers={header: "x" * 1024})
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"before")
        await raw.publish(queues.input, b"huge", properties=huge)
        await raw.publish(queues.input, b"longest", properties=longest)
        async with consuming(session, queues.input, inbox):
            await inbox.holds(3)

    messages = await raw.take(queues.output, 3)
    assert [(message.body, message.header.properties.headers or {}) for message in messages] == [
        (b"before", {}),
        (b"huge", {}),
        (b"longest", longest.headers),
    ]


@pytest.mark.parametrize("count", [1, 400])
async def test_a_queue_deleted_under_way_is_created_again(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    count: int,
) -> None:
    publishings = [
        Publishing(queues.output, str(number).encode(), APP_ID) for number in range(count)
    ]
    with trio.fail_after(PATIENCE):
        async with (
            open_proxy(parameters.endpoint.port) as proxy,
            rabbit.open_session(through(proxy, parameters)) as session,
        ):
            await raw.delete(queues.output)
            connections = proxy.connections
            await session.publish(publishings)
            # However many came back: a connection for each would be an onslaught.
            assert proxy.connections - connections <= 2

    messages = await raw.take(queues.output, count)
    assert sorted(message.body for message in messages) == sorted(
        publishing.body for publishing in publishings
    )


async def test_an_unroutable_message_has_a_second_choice(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_is_created(monkeypatch)
    await raw.declare(queues.input)
    await raw.declare(queues.parked)
    await raw.publish(queues.input, b"a")
    inbox = Inbox(
        lambda delivery: Settlement(
            delivery,
            Publishing(queues.output, b"first choice", APP_ID),
            fallback=DeadLetterAddress(queues.parked, APP_ID),
        )
    )
    async with (
        rabbit.open_session(parameters) as session,
        consuming(session, queues.input, inbox),
    ):
        await inbox.holds(1)

    assert await raw.ready(queues.input) == 0
    assert [message.body for message in await raw.take(queues.parked, 1)] == [b"a"]


async def test_a_dead_letter_is_counted_once_it_is_confirmed(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    await raw.declare(queues.input)
    arguments: dict[str, str | int] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await raw.declare(queues.parked, **arguments)
    await raw.publish(queues.parked, b"full")
    await raw.publish(queues.input, b"a")
    inbox = Inbox(
        lambda delivery: Settlement(
            delivery, Publishing(queues.parked, delivery.body, APP_ID), rejected="too_deep"
        )
    )
    with structlog.testing.capture_logs() as lines:
        async with (
            rabbit.open_session(parameters) as session,
            consuming(session, queues.input, inbox),
        ):
            await inbox.holds(1)
            await trio.sleep(0.5)
            assert parameters.tally.dead_lettered["too_deep"] == 0
            assert "dead_lettered" not in [line["event"] for line in lines]
            await raw.take(queues.parked, 1)
    assert parameters.tally.dead_lettered["too_deep"] == 1
    assert [note.queue for note in parameters.tally.latest_dead_letters] == [queues.input]
    assert "dead_lettered" in [line["event"] for line in lines]


async def test_an_unroutable_message_without_second_choice_stays_in_its_queue(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_is_created(monkeypatch)
    await raw.declare(queues.input)
    await raw.publish(queues.input, b"a")

    inbox = Inbox(forwarded_to(queues.output))
    hasty = msgspec.structs.replace(parameters, drain_timeout=0.2)

    async def consume() -> None:
        async with (
            rabbit.open_session(hasty) as session,
            consuming(session, queues.input, inbox),
        ):
            await inbox.holds(1)
            await eventually(lambda: session.tried_again == {queues.output: 1})

    assert "not settled in time" in str(await lost(consume))
    assert (await raw.take(queues.input, 1))[0].redelivered


async def test_publishing_to_a_queue_that_cannot_be_created_is_an_error_of_its_own(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_is_created(monkeypatch)
    async with rabbit.open_session(parameters) as session:
        with pytest.raises(UnroutableError):
            await session.publish([Publishing(queues.output, b"a", APP_ID)])


def nothing_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "ensure_queue", do_nothing)
    monkeypatch.setattr(topology, "create_missing", do_nothing)


async def do_nothing(*_: object) -> None:
    pass


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds that RabbitMQ or another thread makes true."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.02)


async def test_what_a_full_queue_refuses_is_held_and_tried_again(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    await raw.declare(queues.output, **FULL_WITH_ONE)
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"fits", b"refused")
        async with consuming(session, queues.input, inbox):
            await inbox.holds(2)
            assert [message.body for message in await raw.take(queues.output, 1)] == [b"fits"]
            assert [message.body for message in await raw.take(queues.output, 1)] == [b"refused"]

    assert await raw.ready(queues.input) == 0


async def test_what_is_never_taken_is_never_acknowledged(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    await raw.declare(queues.output, **FULL_WITH_ONE)
    await raw.publish(queues.output, b"fills the queue")
    inbox = Inbox(forwarded_to(queues.output))
    impatient = msgspec.structs.replace(parameters, drain_timeout=0.5)

    async def consume_a_while() -> None:
        async with rabbit.open_session(impatient) as session:
            await raw.publish(queues.input, b"refused")
            async with consuming(session, queues.input, inbox):
                await inbox.holds(1)

    assert str(await lost(consume_a_while)) == (
        f"deliveries of {queues.input!r} were not settled in time"
    )
    assert [message.body for message in await raw.take(queues.input, 1)] == [b"refused"]


# --- queues


@pytest.mark.parametrize(
    "arguments", [{"x-queue-type": "quorum"}, {"x-max-length": 10, "x-message-ttl": 600_000}]
)
async def test_uses_queues_as_they_are(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    arguments: dict[str, str | int],
) -> None:
    await raw.declare(queues.input, **arguments)
    await raw.declare(queues.output, **arguments)
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"a")
        async with consuming(session, queues.input, inbox):
            await inbox.holds(1)

    assert [message.body for message in await raw.take(queues.output, 1)] == [b"a"]


async def test_creates_missing_queues_as_peers_do(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    async with rabbit.open_session(parameters):
        for queue in (queues.input, queues.output, queues.parked):
            assert await raw.ready(queue) == 0  # it exists
            await raw.declare(queue)  # and RabbitMQ refuses a declaration that differs


async def test_both_sides_promise_signs_of_life(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    rabbitmq: RabbitmqNode,
) -> None:
    """Without them, a peer that vanished is noticed by TCP alone, after minutes."""
    named = msgspec.structs.replace(parameters, name=f"alive {uuid4().hex}")
    async with (
        rabbit.open_session(named) as session,
        consuming(session, queues.input, Inbox()),
    ):
        listed = await rabbitmq.ctl("list_connections", "timeout", "client_properties")
    promised = [line.split("\t")[0] for line in listed.splitlines() if named.name in line]
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
        (b"\x15\x03\x01\0\x02\x02\x46", True, "not speak AMQP 0-9-1 on this port, but TLS"),
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
    rabbit: Rabbit,
    parameters: SessionParameters,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: bytes,
    then_hangs_up: bool,
    text: str,
) -> None:
    if not then_hangs_up:
        monkeypatch.setattr("broker.amqp.connection.CONNECT_TIMEOUT", 0.2)
    async with peer_that_says(answer, then_hangs_up) as port:
        endpoint = replace(parameters.endpoint, port=port, password=SECRET)

        async def open_it() -> None:
            async with rabbit.open_session(msgspec.structs.replace(parameters, endpoint=endpoint)):
                pytest.fail("it cannot have been opened")

        error = await lost(open_it)

    assert text in str(error)
    assert_no_secret(error, caplog)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"password": SECRET}, "RabbitMQ refused the login (ACCESS_REFUSED"),
        ({"user": "nobody", "password": SECRET}, "RabbitMQ refused the login (ACCESS_REFUSED"),
        ({"vhost": "no such"}, "vhost no such not found"),
        ({"port": 1}, "Connect call failed"),
        ({"host": "no-such-host.invalid"}, "connecting to amqp://guest@no-such-host.invalid"),
    ],
)
async def test_says_why_a_session_cannot_be_opened(
    rabbit: Rabbit,
    parameters: SessionParameters,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str | int],
    text: str,
) -> None:
    endpoint = replace(parameters.endpoint, **changes)  # type: ignore[arg-type]

    async def open_it() -> None:
        async with rabbit.open_session(msgspec.structs.replace(parameters, endpoint=endpoint)):
            pytest.fail("it cannot have been opened")

    error = await lost(open_it)

    assert str(error).startswith("connecting to ")
    assert text in str(error)
    assert_no_secret(error, caplog)


def assert_no_secret(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert SECRET not in told
    assert "guest:guest" not in told


async def test_any_credentials_and_vhost_are_understood(
    rabbit: Rabbit, parameters: SessionParameters, rabbitmq: RabbitmqNode
) -> None:
    user, password, vhost = "ü@:/ %41", "p%40:/@ ä#?&", "a/b%2F?#ß"
    await rabbitmq.ctl("add_vhost", vhost)
    await rabbitmq.ctl("add_user", user, password)
    await rabbitmq.ctl("set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    endpoint = replace(parameters.endpoint, user=user, password=password, vhost=vhost)
    with trio.fail_after(PATIENCE):
        async with rabbit.open_session(msgspec.structs.replace(parameters, endpoint=endpoint)):
            pass


# --- loss


async def test_a_cancelled_consumer_ends_alone(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    bodies = [str(number).encode() for number in range(3)]
    inbox = Inbox(forwarded_to(queues.parked))

    async def consume(session: Session) -> None:
        with pytest.raises(QueueUnavailableError) as caught:
            await session.consume(queues.input, Inbox().take)
        assert str(caught.value) == f"RabbitMQ cancelled the consumer of {queues.input!r}"

    with trio.fail_after(PATIENCE):
        async with rabbit.open_session(parameters) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(consume, session)
                await eventually(lambda: queues.input in session.consumed)
                await raw.delete(queues.input)
            assert (session.consumed, session.in_flight) == (frozenset(), 0)
            async with consuming(session, queues.output, inbox):
                await raw.publish(queues.output, *bodies)
                await inbox.holds(3)
    assert await raw.ready(queues.parked) == 3


@pytest.mark.parametrize("is_held", [False, True])
async def test_what_waits_for_a_queue_holds_up_no_neighbour(
    *,
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    monkeypatch: pytest.MonkeyPatch,
    is_held: bool,
) -> None:
    """It waits without an answer, or it is tried again."""
    nothing_is_created(monkeypatch)
    await raw.declare(queues.input)
    await raw.publish(queues.input, *(b"waits", b"goes on") * 3)
    inbox = Inbox()
    few = msgspec.structs.replace(parameters, prefetch=4, drain_timeout=0.2)

    async def consume() -> None:
        async with rabbit.open_session(few) as session, consuming(session, queues.input, inbox):
            await inbox.holds(4)
            inbox.publish(
                [
                    Settlement(one, Publishing(queues.output, one.body, APP_ID))
                    for one in inbox.deliveries
                    if is_held and one.body == b"waits"
                ]
            )
            inbox.publish([Settlement(one) for one in inbox.deliveries if one.body != b"waits"])
            # Room for two more: the neighbours of what waits are acknowledged.
            await inbox.holds(6)
            await eventually(lambda: session.on_hold == {queues.input: 2})

    assert "not settled in time" in str(await lost(consume))
    assert [one.body for one in await raw.take(queues.input, 4)] == [
        b"waits",
        b"waits",
        b"waits",
        b"goes on",
    ]


async def test_a_queue_that_is_gone_is_created_again_and_consumed(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    inbox = Inbox(Settlement)
    async with rabbit.open_session(parameters) as session:
        await raw.delete(queues.input)
        async with consuming(session, queues.input, inbox):
            await raw.publish(queues.input, b"a")
            await inbox.holds(1)


async def close_all_connections(node: RabbitmqNode, _proxy: Proxy) -> None:
    await node.ctl("close_all_connections", "closed by the operator")


async def cut(_node: RabbitmqNode, proxy: Proxy) -> None:
    proxy.cut()
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("kill", [close_all_connections, cut])
async def test_unsettled_deliveries_of_a_lost_session_come_again_in_order(
    *,
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    rabbitmq: RabbitmqNode,
    kill: Callable[[RabbitmqNode, Proxy], Awaitable[None]],
) -> None:
    bodies = [str(number).encode() for number in range(200)]
    inbox = Inbox()

    async def lose_it(proxy: Proxy) -> None:
        async with rabbit.open_session(through(proxy, parameters)) as session:
            await raw.publish(queues.input, *bodies)
            async with consuming(session, queues.input, inbox):
                await inbox.holds(200)
                inbox.publish(
                    [
                        Settlement(delivery, Publishing(queues.output, delivery.body, APP_ID))
                        for delivery in inbox.deliveries[:100]
                    ]
                )
                await kill(rabbitmq, proxy)
                await trio.sleep_forever()

    async with open_proxy(parameters.endpoint.port) as proxy:
        await lost(partial(lose_it, proxy))
        # Too late, and harmless.
        inbox.publish([Settlement(delivery) for delivery in inbox.deliveries])
        inbox.publish([forwarded_to(queues.output)(delivery) for delivery in inbox.deliveries])

    again = Inbox(forwarded_to(queues.output))
    async with (
        rabbit.open_session(parameters) as session,
        consuming(session, queues.input, again),
    ):
        await again.holds(100)
    left = len(again.bodies)
    assert again.bodies == bodies[-left:]
    assert all(delivery.redelivered for delivery in again.deliveries)
    taken = await raw.take(queues.output, await raw.ready(queues.output))
    assert {message.body for message in taken} == set(bodies)


async def test_losing_the_connection_releases_all_who_publish(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues
) -> None:
    publishings = [Publishing(queues.output, b"a" * 10_000, APP_ID) for _ in range(1_000)]
    released = []

    async def publish(session: Session, started: trio.Event) -> None:
        started.set()
        try:
            await session.publish(publishings)
        except AmqpError as error:
            released.append(error)
            raise

    async def lose_it(proxy: Proxy) -> None:
        async with (
            rabbit.open_session(through(proxy, parameters)) as session,
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

    async with open_proxy(parameters.endpoint.port) as proxy:
        await lost(partial(lose_it, proxy))
    assert len(released) == 3


async def test_a_session_without_confirms_is_lost(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirm_watch, "CONFIRM_TIMEOUT", 0.2)
    monkeypatch.setattr(confirm_watch, "_INTERVAL", 0.05)

    async def publish_into_a_black_hole(proxy: Proxy) -> None:
        async with rabbit.open_session(through(proxy, parameters)) as session:
            await trio.sleep(0.4)  # nothing is awaited, so nothing is missing
            await session.publish([Publishing(queues.output, b"confirmed", APP_ID)])
            proxy.stall()
            await session.publish([Publishing(queues.output, b"never confirmed", APP_ID)])

    async with open_proxy(parameters.endpoint.port) as proxy:
        error = await lost(partial(publish_into_a_black_hole, proxy))
    assert str(error) == "RabbitMQ confirmed nothing for 0.2 s"


# --- the end


async def test_cancelling_a_consumer_settles_what_it_holds_and_it_can_start_again(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    inbox = Inbox()
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"1", b"2", b"3")

        async with trio.open_nursery() as nursery, consuming(session, queues.input, inbox):
            await inbox.holds(3)

            async def settle_late() -> None:
                await trio.sleep(0.2)
                inbox.publish([forwarded_to(queues.output)(held) for held in inbox.deliveries])

            nursery.start_soon(settle_late)

        # Acknowledged though the session lives: what is published now is the first in the queue.
        await raw.publish(queues.input, b"4")
        assert await raw.ready(queues.input) == 1
        assert await raw.ready(queues.output) == 3

        again = Inbox(forwarded_to(queues.output))
        async with consuming(session, queues.input, again):
            await again.holds(1)
        assert again.bodies == [b"4"]
        assert not again.deliveries[0].redelivered

    assert await raw.ready(queues.input) == 0
    assert await raw.ready(queues.output) == 4


async def test_what_arrives_while_a_consumer_is_cancelled_is_taken_and_settled(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    count = 200
    inbox = Inbox(forwarded_to(queues.output))
    few = msgspec.structs.replace(parameters, prefetch=50)
    async with rabbit.open_session(few) as session:
        await raw.publish(queues.input, *map(str.encode, map(str, range(count))))
        with trio.fail_after(PATIENCE):
            async with consuming(session, queues.input, inbox):
                pass  # cancelled as soon as it consumes
        taken = len(inbox.deliveries)
        assert await raw.ready(queues.output) == taken
        left = await raw.take(queues.input, count - taken)
        assert [int(one.body) for one in left] == list(range(taken, count))
        assert not any(one.redelivered for one in left)


async def test_one_who_fails_to_take_is_the_callers_error(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    class BugError(Exception):
        pass

    def take(_: Deliveries) -> None:
        raise BugError

    with pytest.RaisesGroup(BugError, flatten_subgroups=True), trio.fail_after(PATIENCE):
        async with rabbit.open_session(parameters) as session:
            await raw.publish(queues.input, b"1")
            await session.consume(queues.input, take)

    assert await raw.ready(queues.input) == 1


async def test_cancelling_a_publish_ends_the_session(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    await raw.declare(queues.output, **FULL_WITH_ONE)
    await raw.publish(queues.output, b"fills the queue")
    with trio.fail_after(PATIENCE):
        async with rabbit.open_session(parameters) as session:
            with trio.move_on_after(0.2) as scope:
                await session.publish([Publishing(queues.output, b"a", APP_ID)])
            assert scope.cancelled_caught
            with pytest.raises(AmqpError, match="the session has ended"):
                await session.publish([Publishing(queues.output, b"a", APP_ID)])


async def test_what_is_returned_after_the_end_complains_about_nothing(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
) -> None:
    for delay in (0.0, 0.001, 0.003, 0.01, 0.02, 0.04):
        async with rabbit.open_session(parameters) as session:
            await raw.delete(queues.output)
            with trio.move_on_after(delay):
                await session.publish([Publishing(queues.output, b"a", APP_ID)] * 50)


async def test_cancelling_while_a_session_opens(
    rabbit: Rabbit, parameters: SessionParameters
) -> None:
    for delay in (0.0, 0.001, 0.003, 0.01, 0.02):
        with trio.fail_after(CLOSING), trio.move_on_after(delay):
            async with rabbit.open_session(parameters):
                await trio.sleep_forever()


async def test_a_black_hole_does_not_hold_up_the_end(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    impatient = msgspec.structs.replace(parameters, drain_timeout=0.2)
    closing_by = math.inf

    async def close_in_a_black_hole(proxy: Proxy) -> None:
        nonlocal closing_by
        async with rabbit.open_session(through(proxy, impatient)) as session:
            await raw.publish(queues.input, b"1")
            inbox = Inbox(forwarded_to(queues.output))
            async with consuming(session, queues.input, inbox):
                proxy.stall()
                closing_by = trio.current_time() + impatient.drain_timeout + CLOSING

    async with open_proxy(parameters.endpoint.port) as proxy:
        await lost(partial(close_in_a_black_hole, proxy))
    assert trio.current_time() < closing_by


async def test_much_that_is_unsent_does_not_hold_up_the_end(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues
) -> None:
    """More than all buffers between here and there hold; the farewell would come behind it."""
    closing_by = math.inf
    large = Publishing(queues.output, bytes(64 * 2**20), APP_ID)

    async def close_with_full_buffers(proxy: Proxy) -> None:
        nonlocal closing_by
        async with rabbit.open_session(through(proxy, parameters)) as session:
            proxy.stall()
            with trio.move_on_after(1.0):
                await session.publish([large])
            closing_by = trio.current_time() + CLOSING

    async with open_proxy(parameters.endpoint.port) as proxy:
        with suppress(SessionLostError):
            await close_with_full_buffers(proxy)
    assert trio.current_time() < closing_by < math.inf


async def test_a_black_hole_does_not_hold_up_the_end_while_opening(
    rabbit: Rabbit, parameters: SessionParameters
) -> None:
    async with open_proxy(parameters.endpoint.port) as proxy:
        proxy.stall()
        with trio.fail_after(CLOSING), trio.move_on_after(0.3):
            async with rabbit.open_session(through(proxy, parameters)):
                pytest.fail("it cannot have been opened")


# --- odd properties and names

SOUND = raw_content.flags(0)
ODD = {
    "a content type that is not UTF-8": raw_content.flags(1 << 15) + b"\x04\xff\xfe\xfa\xfb",
    "a header key that is not UTF-8": raw_content.header_table(b"\xff\xfe", b"I\0\0\0\x01"),
    "a timestamp in microseconds": raw_content.flags(1 << 6) + struct.pack(">Q", 17 * 10**14),
    "a timestamp beyond all years": raw_content.flags(1 << 6) + b"\xff" * 8,
    "a time beyond all years as a header": raw_content.header_table(b"h", b"T" + b"\xff" * 8),
    "headers in headers in headers": raw_content.header_table(
        b"h", raw_content.nested_table(15_000)
    ),
}


@pytest.mark.parametrize("properties", ODD.values(), ids=ODD)
async def test_properties_that_nobody_uses_are_not_judged(
    rabbit: Rabbit,
    parameters: SessionParameters,
    queues: Queues,
    raw: RawRabbitmq,
    properties: bytes,
) -> None:
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        contents: Sequence[tuple[bytes, bytes]] = [
            (SOUND, b"before"),
            (properties, b"p" * 200_000),
            (properties, b""),
            (SOUND, b"after"),
        ]
        await raw.publish_content(queues.input, *contents)
        async with consuming(session, queues.input, inbox):
            await inbox.holds(4)

    assert inbox.bodies == [body for _, body in contents]
    assert [delivery.properties_error for delivery in inbox.deliveries] == [None] * 4
    assert [delivery.raw_properties for delivery in inbox.deliveries] == [
        *(SOUND, properties, properties, SOUND)
    ]
    assert await raw.ready(queues.input) == 0


async def test_a_routing_key_is_not_judged(
    rabbit: Rabbit, parameters: SessionParameters, queues: Queues, raw: RawRabbitmq
) -> None:
    inbox = Inbox(forwarded_to(queues.output))
    async with rabbit.open_session(parameters) as session:
        await raw.publish(queues.input, b"before")
        await raw.publish_content(queues.input, (SOUND, b"no UTF-8"), routing_key=b"\xff\xfe")
        await raw.publish_content(queues.input, (SOUND, b"control"), routing_key=b"\0 \x1b")
        await raw.publish(queues.input, b"after")
        async with consuming(session, queues.input, inbox):
            await inbox.holds(4)

    assert inbox.bodies == [b"before", b"no UTF-8", b"control", b"after"]
    assert [delivery.properties_error for delivery in inbox.deliveries] == [None] * 4
