"""What a RabbitMQ node would let the broker do, asked without doing any of it.

RabbitMQ looks at a right before it looks at the request. So each right is asked about with a
request that cannot succeed: a declaration and a consumer with arguments that are not allowed, a
message to a queue that does not exist, or in the name of somebody else. It answers 403 without the
right, and another refusal with it. No queue and no exchange is made or changed, and no message is
delivered, not even for a moment.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import anyio
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    PublishError,
)
from pamqp.commands import Basic
from pamqp.common import FieldTable

from broker.amqp.admin.delivery_limit import QuorumArguments, quorum_arguments
from broker.amqp.connection import RPC_TIMEOUT, Connection
from broker.amqp.queue_type import INEQUIVALENT, consume_in_vain, tells_stream
from broker.amqp.rabbit import Rabbit
from broker.amqp.refusal import RefusedError, Stage
from broker.amqp.wire.errors import AmqpError, describe, translated
from broker.net.endpoints import AmqpEndpoint
from broker.net.tls import TlsFiles
from broker.settings.amqp_nodes import AmqpNodes

PROBE_TIMEOUT = 15.0
"""Seconds that a probe may take, login included; closing comes on top, with two at most."""
_BLOCKED_TIMEOUT = 2.0
"""Seconds without an answer after a message: RabbitMQ reads no more from whom it blocks."""

_SYSTEMS_TRUST = TlsFiles()
_NO_QUEUE: FieldTable = {"x-max-priority": -1}
_NO_EXCHANGE: FieldTable = {"alternate-exchange": 0}
_NO_SUCH = "NOT_FOUND - no queue "
"""How RabbitMQ says that a queue does not exist. With the same code, and other words, it says that
the node with the queue is down, or that the queue has crashed."""


class ProbeError(AmqpError):
    """The node let nobody in.

    Attributes:
        user: Who tried to log in; empty when a client certificate named the user to RabbitMQ.
    """

    def __init__(self, cause: BaseException, user: str) -> None:
        is_late = isinstance(cause, TimeoutError)
        super().__init__("no answer in time" if is_late else describe(cause))
        self.cause = cause
        self.user = user

    @property
    def stage(self) -> Stage:
        """How far it came, see `RefusedError`."""
        return self.cause.stage if isinstance(self.cause, RefusedError) else "amqp"


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What is known of a queue.

    Attributes:
        exists: Whether it does, also when it is down; taken for granted when it is not shown.
        problem: Why it cannot be used, in RabbitMQ's words; None when it can.
        differs_in: The first property in which it differs from a durable queue without arguments,
            as far as that is seen: `durable`, `auto_delete`, or an argument. Only who may configure
            it sees that.
        messages: Those ready to be delivered; None when it is not shown.
        consumers: Likewise.
    """

    exists: bool
    problem: str | None
    may_configure: bool
    may_consume: bool | None
    differs_in: str | None
    is_shown: bool = True
    is_stream: bool = False
    quorum: QuorumArguments | None = None
    messages: int | None = None
    consumers: int | None = None


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """What is known of a fanout exchange.

    Attributes:
        may_publish: Whether it takes messages from this user; during an alarm that is not known,
            and taken for granted.
    """

    exists: bool
    may_configure: bool
    may_publish: bool
    may_listen: bool


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node would let the broker do.

    Attributes:
        is_blocked: Whether it takes none from anybody at present, as there is an alarm.
    """

    user: str
    queues: Mapping[str, QueueReport]
    exchange: ExchangeReport
    may_publish: bool
    is_blocked: bool


async def probe_node(
    rabbit: Rabbit,
    endpoint: AmqpEndpoint,
    *,
    name: str,
    consumed: Sequence[str],
    published: Sequence[str],
    exchange: str,
    tls: TlsFiles = _SYSTEMS_TRUST,
    nodes: AmqpNodes | None = None,
    within: float = PROBE_TIMEOUT,
) -> NodeReport:
    """Log in to a node, and find out what it would let the broker do. Called in Trio.

    It takes at most so many seconds and two for closing, whatever the node does. When cancelled,
    the connection is closed all the same.

    Raises:
        ProbeError: It let nobody in.
        AmqpError: The connection was lost, or it did not answer in time.
    """
    connection = Connection(endpoint, name=name, tls=tls, nodes=nodes)
    return await rabbit.run(_probe, connection, consumed, published, exchange, within)


async def _probe(
    connection: Connection,
    consumed: Sequence[str],
    published: Sequence[str],
    exchange: str,
    within: float,
) -> NodeReport:
    try:
        with translated("asking RabbitMQ"):
            async with asyncio.timeout(within):
                await _open(connection)
                queues = {
                    queue: await _report(connection, queue, is_consumed=queue in consumed)
                    for queue in (*consumed, *published)
                }
                listened = await _report_exchange(connection, exchange)
                # Last, as RabbitMQ may read nothing more from this connection afterwards.
                may_publish, is_blocked = await _try_publishing(connection)
                if not is_blocked:
                    may_announce = await _may_publish_to(connection, exchange)
                    listened = replace(listened, may_publish=may_announce)
                return NodeReport(connection.user, queues, listened, may_publish, is_blocked)
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


async def _open(connection: Connection) -> None:
    try:
        await connection.open()
    except AmqpError as error:
        raise ProbeError(error.__cause__ or error, connection.user) from error


async def _report(connection: Connection, queue: str, *, is_consumed: bool) -> QueueReport:
    counts: tuple[int | None, int | None] = (None, None)

    async def look(channel: AbstractChannel) -> None:
        nonlocal counts
        found = await channel.queue_declare(queue, passive=True, timeout=RPC_TIMEOUT)
        counts = found.message_count, found.consumer_count

    async def declare(channel: AbstractChannel) -> None:
        await channel.queue_declare(queue, durable=True, arguments=_NO_QUEUE, timeout=RPC_TIMEOUT)

    seen = await _refusal(connection, look)
    exists = not (isinstance(seen, ChannelNotFoundEntity) and _NO_SUCH in describe(seen))
    is_shown = not isinstance(seen, ChannelAccessRefused)
    declared = await _refusal(connection, declare)
    consumable = (
        await _refusal(connection, lambda channel: consume_in_vain(channel, queue))
        if is_consumed
        else None
    )
    may_configure = not isinstance(declared, ChannelAccessRefused)
    quorum = None
    if is_consumed and may_configure and seen is None:
        quorum = await quorum_arguments(connection, queue)
    return QueueReport(
        exists=exists,
        problem=describe(seen) if seen is not None and exists and is_shown else None,
        may_configure=may_configure,
        may_consume=not isinstance(consumable, ChannelAccessRefused) if is_consumed else None,
        differs_in=_difference(declared) if exists else None,
        is_shown=is_shown,
        is_stream=tells_stream(consumable),
        quorum=quorum,
        messages=counts[0],
        consumers=counts[1],
    )


async def _report_exchange(connection: Connection, exchange: str) -> ExchangeReport:
    # Such names are those of the queues that brokers listen with; this one does not exist.
    queue = f"{exchange}.{uuid4().hex}"

    async def look(channel: AbstractChannel) -> None:
        await channel.exchange_declare(exchange, passive=True, timeout=RPC_TIMEOUT)

    async def declare(channel: AbstractChannel) -> None:
        await channel.exchange_declare(
            exchange,
            exchange_type="fanout",
            durable=True,
            arguments=_NO_EXCHANGE,
            timeout=RPC_TIMEOUT,
        )

    async def declare_queue(channel: AbstractChannel) -> None:
        await channel.queue_declare(queue, exclusive=True, arguments=_NO_QUEUE, timeout=RPC_TIMEOUT)

    async def bind(channel: AbstractChannel) -> None:
        await channel.queue_bind(queue, exchange, timeout=RPC_TIMEOUT)

    async def may(request: Callable[[AbstractChannel], Awaitable[None]]) -> bool:
        return not isinstance(await _refusal(connection, request), ChannelAccessRefused)

    return ExchangeReport(
        exists=not isinstance(await _refusal(connection, look), ChannelNotFoundEntity),
        may_configure=await may(declare),
        may_publish=True,
        may_listen=await may(declare_queue)
        and await may(bind)
        and await may(lambda channel: consume_in_vain(channel, queue)),
    )


async def _may_publish_to(connection: Connection, exchange: str) -> bool:
    async def publish(channel: AbstractChannel) -> None:
        await channel.basic_publish(
            b"", exchange=exchange, properties=Basic.Properties(user_id=f"not {exchange}")
        )
        # Without confirms nothing answers it; a request behind it hears of the refusal.
        await channel.basic_qos(timeout=RPC_TIMEOUT)

    return not isinstance(await _refusal(connection, publish), ChannelAccessRefused)


def _difference(refusal: ChannelClosed | None) -> str | None:
    text = "" if refusal is None else describe(refusal)
    found = INEQUIVALENT.search(text)
    # That it has not the priorities which were asked for is no difference by itself.
    return found[1] if found and not text.endswith("but current is none") else None


async def _try_publishing(connection: Connection) -> tuple[bool, bool]:
    """Return whether messages may be published, and whether they are blocked."""
    channel = await connection.channel(publisher_confirms=True)
    nowhere = uuid4().hex
    try:
        async with asyncio.timeout(RPC_TIMEOUT):
            await channel.basic_publish(b"", routing_key=nowhere, mandatory=True)
    except PublishError:
        pass  # it came back, as it should
    except ChannelAccessRefused:
        return False, False
    except TimeoutError:
        if not await connection.is_blocked():
            raise
    try:
        await connection.aiormq.channel(publisher_confirms=False, timeout=_BLOCKED_TIMEOUT)
    except TimeoutError:
        if not await connection.is_blocked():
            raise
    return True, await connection.is_blocked()


async def _refusal(
    connection: Connection, request: Callable[[AbstractChannel], Awaitable[None]]
) -> ChannelClosed | None:
    """Make a request on a channel of its own, which a refusal closes."""
    channel = await connection.channel()
    try:
        await request(channel)
    except ChannelClosed as refusal:
        return refusal
    return None
