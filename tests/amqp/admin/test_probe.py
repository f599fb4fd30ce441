"""The probe against a real node: what it finds, and that it leaves everything as it was."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiormq
import pytest
import trio
from anyio.from_thread import BlockingPortal

import broker.amqp.connection
from broker.amqp import AmqpError, Publishing, Rabbit, SessionParameters, Settlement
from broker.amqp.admin import ExchangeReport, NodeReport, ProbeError, QueueReport, probe_node
from broker.amqp.admin import probe as probing
from broker.net.endpoints import AmqpEndpoint, parse_amqp_urls
from tests.amqp.conftest import Queues
from tests.amqp.inbox import Inbox
from tests.lab.amqp_client import AmqpClient
from tests.lab.proxy import open_proxy
from tests.lab.rabbitmq_node import RabbitmqNode

PATIENCE = 30.0
ALL = ".*"
NOTHING = "^$"


@pytest.fixture
def endpoint(rabbitmq: RabbitmqNode) -> AmqpEndpoint:
    (endpoint,) = parse_amqp_urls(rabbitmq.url)
    return endpoint


async def probe_queues(rabbit: Rabbit, endpoint: AmqpEndpoint, queues: Queues) -> NodeReport:
    with trio.fail_after(PATIENCE):
        return await probe_node(
            rabbit,
            endpoint,
            name="a probe",
            consumed=(queues.input,),
            published=(queues.output, queues.parked),
            exchange=exchange_beside(queues),
        )


def exchange_beside(queues: Queues) -> str:
    return f"{queues.input}_events"


async def existing(rabbitmq: RabbitmqNode) -> set[str]:
    return set((await rabbitmq.ctl("list_queues", "name")).split())


async def test_missing_queues_are_not_created(
    rabbit: Rabbit, endpoint: AmqpEndpoint, queues: Queues, rabbitmq: RabbitmqNode
) -> None:
    before = await existing(rabbitmq)
    exchanges = await rabbitmq.ctl("list_exchanges", "name")
    report = await probe_queues(rabbit, endpoint, queues)
    missing = QueueReport(
        exists=False, problem=None, may_configure=True, may_consume=None, differs_in=None
    )
    assert report == NodeReport(
        user="guest",
        queues={
            queues.input: replace(missing, may_consume=True),
            queues.output: missing,
            queues.parked: missing,
        },
        exchange=ExchangeReport(
            exists=False, may_configure=True, may_publish=True, may_listen=True
        ),
        may_publish=True,
        is_blocked=False,
    )
    assert await existing(rabbitmq) == before
    assert await rabbitmq.ctl("list_exchanges", "name") == exchanges


async def test_messages_stay_where_and_as_they_are(
    rabbit: Rabbit, endpoint: AmqpEndpoint, queues: Queues, raw: AmqpClient
) -> None:
    for queue in (queues.input, queues.output, queues.parked):
        await raw.declare(queue)
        await raw.publish(queue, b"1", b"2", b"3")
    report = await probe_queues(rabbit, endpoint, queues)
    assert all(seen.exists for seen in report.queues.values())
    for queue in (queues.input, queues.output, queues.parked):
        messages = await raw.take(queue, 3)
        assert [message.body for message in messages] == [b"1", b"2", b"3"]
        # Nobody had them, not even for a moment.
        assert not any(message.redelivered for message in messages)
        assert await raw.ready(queue) == 0


@pytest.mark.parametrize(
    ("durable", "auto_delete", "arguments", "differs_in"),
    [
        (True, False, {}, None),
        (False, False, {}, "durable"),
        (True, True, {}, "auto_delete"),
        (True, False, {"x-message-ttl": 60_000}, "x-message-ttl"),
        (True, False, {"x-max-length": 10}, "x-max-length"),
        (True, False, {"x-max-priority": 3}, "x-max-priority"),
        (True, False, {"x-queue-type": "quorum"}, "x-queue-type"),
    ],
)
async def test_how_a_queue_differs(
    *,
    portal: BlockingPortal,
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    rabbitmq: RabbitmqNode,
    durable: bool,
    auto_delete: bool,
    arguments: dict[str, int | str],
    differs_in: str | None,
) -> None:
    async def declare() -> None:
        async with aiormq.connect(rabbitmq.url) as connection:
            channel = await connection.channel()
            await channel.queue_declare(
                queues.input, durable=durable, auto_delete=auto_delete, arguments=dict(arguments)
            )

    await portal.call_async(declare)
    report = await probe_queues(rabbit, endpoint, queues)
    seen = report.queues[queues.input]
    assert (seen.quorum is not None) == (arguments.get("x-queue-type") == "quorum")
    assert replace(seen, quorum=None) == QueueReport(
        exists=True, problem=None, may_configure=True, may_consume=True, differs_in=differs_in
    )


@pytest.fixture
async def exclusive(
    portal: BlockingPortal, rabbitmq: RabbitmqNode, queues: Queues
) -> AsyncIterator[str]:
    """A queue that somebody else has for itself."""

    async def declare() -> aiormq.abc.AbstractConnection:
        connection = await aiormq.connect(rabbitmq.url)
        channel = await connection.channel()
        await channel.queue_declare(queues.input, exclusive=True)
        return connection

    connection = await portal.call_async(declare)
    yield queues.input
    await portal.call_async(connection.close)


async def test_a_queue_that_somebody_has_for_itself(
    rabbit: Rabbit, endpoint: AmqpEndpoint, queues: Queues, exclusive: str
) -> None:
    report = await probe_queues(rabbit, endpoint, queues)
    seen = report.queues[exclusive]
    assert seen.exists
    assert seen.problem is not None
    assert "exclusive access" in seen.problem


@pytest.mark.parametrize(
    ("permissions", "may_configure", "may_publish", "may_consume"),
    [
        ((ALL, ALL, ALL), True, True, True),
        ((NOTHING, ALL, ALL), False, True, True),
        ((ALL, NOTHING, ALL), True, False, True),
        ((ALL, ALL, NOTHING), True, True, False),
        ((NOTHING, NOTHING, NOTHING), False, False, False),
    ],
)
async def test_each_right_is_seen_by_itself(
    *,
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    raw: AmqpClient,
    rabbitmq: RabbitmqNode,
    user: str,
    permissions: tuple[str, str, str],
    may_configure: bool,
    may_publish: bool,
    may_consume: bool,
) -> None:
    await raw.declare(queues.input)
    await rabbitmq.ctl("set_permissions", user, *permissions)
    theirs = replace(endpoint, user=user, password=user)
    report = await probe_queues(rabbit, theirs, queues)
    assert report.queues[queues.input] == QueueReport(
        exists=True,
        problem=None,
        may_configure=may_configure,
        may_consume=may_consume,
        differs_in=None,
    )
    assert report.queues[queues.output] == QueueReport(
        exists=False,
        problem=None,
        may_configure=may_configure,
        may_consume=None,
        differs_in=None,
    )
    assert report.may_publish == may_publish
    assert report.exchange == ExchangeReport(
        exists=False,
        may_configure=may_configure,
        may_publish=may_publish,
        may_listen=may_configure and may_publish and may_consume,
    )


async def test_an_exchange_that_exists_carries_nothing(
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    rabbitmq: RabbitmqNode,
    user: str,
) -> None:
    fanout = exchange_beside(queues)
    parameters = SessionParameters(endpoint=endpoint, name="listening", fanouts=(fanout,))
    inbox = Inbox(Settlement)
    theirs = replace(endpoint, user=user, password=user)
    async with rabbit.open_session(parameters) as session, trio.open_nursery() as nursery:
        await nursery.start(session.consume, fanout, inbox.take)
        for permissions, may_publish in (((ALL, ALL, ALL), True), ((ALL, NOTHING, ALL), False)):
            await rabbitmq.ctl("set_permissions", user, *permissions)
            report = await probe_queues(rabbit, theirs, queues)
            assert report.exchange.exists
            assert report.exchange.may_publish == may_publish
        await session.publish([Publishing("", b"the first", "a test", exchange=fanout)])
        with trio.fail_after(PATIENCE):
            await inbox.holds(1)
        assert inbox.bodies == [b"the first"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("difference", "stage", "said"),
    [
        ({"password": "wrong"}, "login", "ACCESS_REFUSED"),
        ({"user": "nobody"}, "login", "ACCESS_REFUSED"),
        ({"vhost": "none"}, "vhost", "vhost none not found"),
        ({"port": 1}, "amqp", "Connect call failed"),
    ],
)
async def test_who_is_not_let_in(
    *,
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    difference: dict[str, Any],
    stage: str,
    said: str,
) -> None:
    with pytest.raises(ProbeError, match=said) as caught:
        await probe_queues(rabbit, replace(endpoint, **difference), queues)
    assert caught.value.stage == stage
    assert "wrong" not in str(caught.value)


async def test_no_access_to_a_virtual_host(
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    rabbitmq: RabbitmqNode,
    user: str,
) -> None:
    await rabbitmq.ctl("clear_permissions", user)
    with pytest.raises(ProbeError, match="access to vhost '/' refused") as caught:
        await probe_queues(rabbit, replace(endpoint, user=user, password=user), queues)
    assert caught.value.stage == "vhost"


async def test_an_alarm(rabbit: Rabbit, queues: Queues, fragile_node: RabbitmqNode) -> None:
    (endpoint,) = parse_amqp_urls(fragile_node.url)
    await fragile_node.ctl("set_vm_memory_high_watermark", "0")
    try:
        report = await probe_queues(rabbit, endpoint, queues)
        assert report.is_blocked
        assert report.may_publish
    finally:
        await fragile_node.ctl("set_vm_memory_high_watermark", "0.9")
    assert not (await probe_queues(rabbit, endpoint, queues)).is_blocked


async def test_a_node_that_says_nothing(
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker.amqp.connection, "CONNECT_TIMEOUT", 2 * PATIENCE)
    monkeypatch.setattr(probing, "PROBE_TIMEOUT", 1.0)
    async with open_proxy(endpoint.port) as proxy:
        proxy.stall()
        with pytest.raises(AmqpError, match="no answer in time"):
            await probe_queues(rabbit, replace(endpoint, port=proxy.port), queues)
        proxy.heal()


async def test_whatever_is_no_rabbitmq(
    rabbit: Rabbit, endpoint: AmqpEndpoint, queues: Queues
) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        with pytest.raises(ProbeError) as caught:
            await probe_queues(rabbit, replace(endpoint, port=port), queues)
        assert caught.value.stage == "amqp"
        nursery.cancel_scope.cancel()


async def test_cancelled_it_hangs_up(
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    queues: Queues,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broker.amqp.connection, "CONNECT_TIMEOUT", 2 * PATIENCE)
    monkeypatch.setattr(probing, "PROBE_TIMEOUT", 2 * PATIENCE)
    async with open_proxy(endpoint.port) as proxy:
        proxy.stall()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(probe_queues, rabbit, replace(endpoint, port=proxy.port), queues)
                while not proxy.open_connections:
                    await trio.sleep(0.01)
                nursery.cancel_scope.cancel()
            while proxy.open_connections:
                await trio.sleep(0.01)
