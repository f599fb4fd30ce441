"""Queues and exchanges that a user may not look at, as RabbitMQ 4.2.6 and later have it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from broker.amqp.connection import Connection
from broker.amqp.topology import ensure_fanout, ensure_queue
from broker.amqp.wire.errors import AmqpError


class Node:
    """A RabbitMQ that refuses to look, and may let queues be created."""

    def __init__(self, *, lets_create: bool = False, lets_look: bool = False) -> None:
        self.lets_create = lets_create
        self.lets_look = lets_look
        self.created: list[str] = []

    @property
    def connection(self) -> Connection:
        return cast("Connection", SimpleNamespace(channel=self._channel))

    async def _channel(self, **_: object) -> object:
        return SimpleNamespace(queue_declare=self._declare, exchange_declare=self._declare)

    async def _declare(self, name: str, *, passive: bool = False, **_: Any) -> None:
        if passive and self.lets_look:
            raise ChannelNotFoundEntity(f"NOT_FOUND - no queue '{name}'")
        if passive or not self.lets_create:
            raise ChannelAccessRefused("ACCESS_REFUSED - configure access refused")
        self.created.append(name)


def test_what_is_not_shown_is_taken_for_granted() -> None:
    node = Node()
    asyncio.run(ensure_queue(node.connection, "q"))
    asyncio.run(ensure_fanout(node.connection, "x"))
    assert node.created == []


def test_what_returned_a_message_is_missing_whether_it_is_shown_or_not() -> None:
    node = Node(lets_create=True)
    asyncio.run(ensure_queue(node.connection, "q", has_returned=True))
    assert node.created == ["q"]
    with pytest.raises(AmqpError, match="ACCESS_REFUSED"):
        asyncio.run(ensure_queue(Node().connection, "q", has_returned=True))


def test_what_is_missing_and_may_not_be_created_is_an_error() -> None:
    with pytest.raises(AmqpError, match="ACCESS_REFUSED"):
        asyncio.run(ensure_queue(Node(lets_look=True).connection, "q"))
