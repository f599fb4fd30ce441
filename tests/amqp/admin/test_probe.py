"""The probe against a real node: what it finds, and that it leaves everything as it was."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import aiormq
import pytest
import trio
from anyio.from_thread import BlockingPortal

from broker.amqp import AmqpError, Publishing, Settlement
from broker.amqp.admin import ExchangeReport, NodeReport, ProbeError, QueueReport, probe_node
from tests.amqp.inbox import Inbox
from tests.amqp.rig import Rig, consuming
from tests.lab.eventually import PATIENCE
from tests.lab.limits import alarmed
from tests.lab.rabbitmq_node import RabbitmqNode

ALL = ".*"
NOTHING = "^$"


EXISTING = QueueReport(
    exists=True,
    problem=None,
    may_configure=True,
    may_consume=True,
    differs_in=None,
    messages=0,
    consumers=0,
)
MISSING = replace(EXISTING, exists=False, may_consume=None, messages=None, consumers=None)


async def probe(rig: Rig, within: float = PATIENCE) -> NodeReport:
    with trio.fail_after(2 * PATIENCE):
        return await probe_node(
            rig.rabbit,
            rig.endpoint,
            name="a probe",
            consumed=(rig.input,),
            published=(rig.output, rig.letters),
            exchange=exchange_of(rig),
            within=within,
        )


def exchange_of(rig: Rig) -> str:
    return f"{rig.input}_events"


async def test_missing_queues_are_not_created(rig: Rig, rabbitmq: RabbitmqNode) -> None:
    before = set((await rabbitmq.ctl("list_queues", "name")).split())
    exchanges = await rabbitmq.ctl("list_exchanges", "name")
    assert await probe(rig) == NodeReport(
        user="guest",
        queues={
            rig.input: replace(MISSING, may_consume=True),
            rig.output: MISSING,
            rig.letters: MISSING,
        },
        exchange=ExchangeReport(
            exists=False, may_configure=True, may_publish=True, may_listen=True
        ),
        may_publish=True,
        is_blocked=False,
    )
    assert set((await rabbitmq.ctl("list_queues", "name")).split()) == before
    assert await rabbitmq.ctl("list_exchanges", "name") == exchanges


async def test_messages_stay_where_and_as_they_are(rig: Rig) -> None:
    for queue in rig.queues:
        await rig.raw.declare(queue)
        await rig.raw.publish(queue, b"1", b"2", b"3")
    report = await probe(rig)
    assert all(seen.exists for seen in report.queues.values())
    for queue in rig.queues:
        messages = await rig.raw.take(queue, 3)
        assert [message.body for message in messages] == [b"1", b"2", b"3"]
        # Nobody had them, not even for a moment.
        assert not any(message.redelivered for message in messages)
        assert await rig.raw.ready(queue) == 0


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
    rig: Rig,
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
                rig.input, durable=durable, auto_delete=auto_delete, arguments=dict(arguments)
            )

    await portal.call_async(declare)
    seen = (await probe(rig)).queues[rig.input]
    assert (seen.quorum is not None) == (arguments.get("x-queue-type") == "quorum")
    assert replace(seen, quorum=None) == replace(EXISTING, differs_in=differs_in)


async def test_a_queue_that_somebody_has_for_itself(
    portal: BlockingPortal, rig: Rig, rabbitmq: RabbitmqNode
) -> None:
    connection = await portal.call_async(aiormq.connect, rabbitmq.url)
    channel = await portal.call_async(connection.channel)
    await portal.call_async(partial(channel.queue_declare, rig.input, exclusive=True))
    seen = (await probe(rig)).queues[rig.input]
    await portal.call_async(connection.close)
    assert seen.exists
    assert "exclusive access" in str(seen.problem)


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
    rig: Rig,
    rabbitmq: RabbitmqNode,
    user: str,
    permissions: tuple[str, str, str],
    may_configure: bool,
    may_publish: bool,
    may_consume: bool,
) -> None:
    await rig.raw.declare(rig.input)
    await rabbitmq.ctl("set_permissions", user, *permissions)
    report = await probe(rig.at(user=user, password=user))
    assert report.queues[rig.input] == replace(
        EXISTING, may_configure=may_configure, may_consume=may_consume
    )
    assert report.queues[rig.output] == replace(MISSING, may_configure=may_configure)
    assert report.may_publish == may_publish
    assert report.exchange == ExchangeReport(
        exists=False,
        may_configure=may_configure,
        may_publish=may_publish,
        may_listen=may_configure and may_publish and may_consume,
    )


async def test_an_exchange_that_exists_carries_nothing(
    rig: Rig, rabbitmq: RabbitmqNode, user: str
) -> None:
    fanout = exchange_of(rig)
    inbox = Inbox(Settlement)
    async with rig.open(fanouts=(fanout,)) as session, consuming(session, fanout, inbox):
        for permissions, may_publish in (((ALL, ALL, ALL), True), ((ALL, NOTHING, ALL), False)):
            await rabbitmq.ctl("set_permissions", user, *permissions)
            report = await probe(rig.at(user=user, password=user))
            assert report.exchange.exists
            assert report.exchange.may_publish == may_publish
        await session.publish([Publishing("", b"the first", "a test", exchange=fanout)])
        await inbox.holds(1)
        assert inbox.bodies == [b"the first"]


@pytest.mark.parametrize(
    ("difference", "stage", "said"),
    [
        ({"password": "wrong"}, "login", "ACCESS_REFUSED"),
        ({"vhost": "none"}, "vhost", "vhost none not found"),
        ({"port": 1}, "amqp", "connection refused"),
    ],
)
async def test_who_is_not_let_in(
    rig: Rig, difference: dict[str, Any], stage: str, said: str
) -> None:
    with pytest.raises(ProbeError, match=said) as caught:
        await probe(rig.at(**difference))
    assert caught.value.stage == stage
    assert "wrong" not in str(caught.value)


async def test_no_access_to_a_virtual_host(rig: Rig, rabbitmq: RabbitmqNode, user: str) -> None:
    await rabbitmq.ctl("clear_permissions", user)
    with pytest.raises(ProbeError, match="access to vhost '/' refused") as caught:
        await probe(rig.at(user=user, password=user))
    assert caught.value.stage == "vhost"


async def test_an_alarm(rig: Rig, rabbitmq: RabbitmqNode) -> None:
    async with alarmed(rabbitmq):
        report = await probe(rig)
        assert report.is_blocked
        assert report.may_publish
    assert not (await probe(rig)).is_blocked


class SilentNode:
    """A node that says nothing, and sees who hangs up."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.connected = trio.Event()
        self.left = trio.Event()
        self._nursery = nursery

    async def listen(self) -> int:
        """Listen, and return the port."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self._nursery.start_soon(trio.serve_listeners, self._serve, [listener])
        port: int = listener.socket.getsockname()[1]
        return port

    async def _serve(self, stream: trio.SocketStream) -> None:
        self.connected.set()
        # Whoever closes with something unread, does it with a reset.
        with suppress(trio.BrokenResourceError):
            async for _ in stream:
                pass
        self.left.set()


@pytest.fixture
def silent(nursery: trio.Nursery) -> SilentNode:
    return SilentNode(nursery)


async def test_a_node_that_says_nothing(rig: Rig, silent: SilentNode) -> None:
    with pytest.raises(AmqpError, match="no answer in time"):
        await probe(rig.at(port=await silent.listen()), within=0.5)


async def test_cancelled_it_hangs_up(rig: Rig, silent: SilentNode) -> None:
    port = await silent.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe, rig.at(port=port))
        with trio.fail_after(PATIENCE):
            await silent.connected.wait()
        nursery.cancel_scope.cancel()
    with trio.fail_after(PATIENCE):
        await silent.left.wait()
