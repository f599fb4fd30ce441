"""What most tests against a real RabbitMQ need."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import uuid4

import msgspec
import pytest
import trio
from anyio.from_thread import BlockingPortal

from broker.amqp import Publishing, Rabbit, Session, SessionLostError, SessionParameters
from broker.amqp.admin import AdminSession, open_admin_session
from broker.net.endpoints import AmqpEndpoint, parse_amqp_urls
from tests.amqp.inbox import APP_ID, Inbox, forwarded_to
from tests.lab.amqp_client import AmqpClient
from tests.lab.eventually import PATIENCE

CLOSING = 4.0
"""What `open_session` promises for closing, and as much again for a busy machine."""


@dataclass(frozen=True)
class Rig:
    """Sessions with a node, a plain client of it, and names of queues that no other test uses."""

    rabbit: Rabbit
    parameters: SessionParameters
    raw: AmqpClient
    input: str
    output: str
    letters: str

    @classmethod
    def of(cls, portal: BlockingPortal, url: str) -> Self:
        number = uuid4().hex[:8]
        queues = (f"input-{number}", f"output-{number}", f"letters-{number}")
        (endpoint,) = parse_amqp_urls(url)
        parameters = SessionParameters(endpoint, name="test", queues=queues)
        return cls(Rabbit(portal), parameters, AmqpClient(url), *queues)

    @property
    def queues(self) -> tuple[str, str, str]:
        return self.input, self.output, self.letters

    @property
    def endpoint(self) -> AmqpEndpoint:
        return self.parameters.endpoint

    def at(self, **changes: Any) -> Self:
        """Return one whose sessions go elsewhere, or log in otherwise."""
        return self.with_parameters(endpoint=replace(self.endpoint, **changes))

    def with_parameters(self, **changes: Any) -> Self:
        return replace(self, parameters=msgspec.structs.replace(self.parameters, **changes))

    @asynccontextmanager
    async def open(self, **changes: Any) -> AsyncIterator[Session]:
        parameters = self.with_parameters(**changes).parameters
        with trio.fail_after(PATIENCE):
            async with self.rabbit.open_session(parameters) as session:
                yield session

    @asynccontextmanager
    async def administer(self) -> AsyncIterator[AdminSession]:
        with trio.fail_after(PATIENCE):
            async with open_admin_session(self.rabbit, self.parameters) as session:
                yield session

    @asynccontextmanager
    async def consuming(self, inbox: Inbox, **changes: Any) -> AsyncIterator[Session]:
        """Consume the input queue for the length of the block, in a session of its own."""
        async with self.open(**changes) as session, consuming(session, self.input, inbox):
            yield session

    def forwarding(self) -> Inbox:
        return Inbox(forwarded_to(self.output))

    async def forward(self, count: int) -> Inbox:
        """Consume so many messages, and publish them on to the output queue."""
        inbox = self.forwarding()
        async with self.consuming(inbox):
            await inbox.holds(count)
        return inbox

    def to_output(self, body: bytes) -> Publishing:
        return Publishing(self.output, body, APP_ID)

    async def bodies(self, queue: str, count: int) -> list[bytes]:
        """Take so many messages from a queue."""
        return [bytes(message.body) for message in await self.raw.take(queue, count)]


@asynccontextmanager
async def consuming(session: Session, queue: str, inbox: Inbox) -> AsyncIterator[None]:
    """Consume for the length of the block, and stop as a consumer is stopped."""
    async with trio.open_nursery() as nursery:
        await nursery.start(session.consume, queue, inbox.take)
        yield
        nursery.cancel_scope.cancel()


def losing(said: str | None = None) -> pytest.RaisesExc[SessionLostError]:
    """Expect that a session is lost, or cannot be opened."""
    return pytest.raises(SessionLostError, match=said)
