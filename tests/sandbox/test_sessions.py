from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from typing import cast

import pytest
import trio

from broker.amqp import AmqpEndpoint, Rabbit, Session, SessionLostError, SessionParameters
from broker.sandbox.sessions import keep_session
from tests.lab.autojump import autojump

PARAMETERS = SessionParameters(
    AmqpEndpoint("rabbit", 5672, "guest", "guest", vhost="/", tls=False), "test"
)


class FakeRabbit:
    """Gives sessions while it is up."""

    def __init__(self) -> None:
        self.is_up = True

    @asynccontextmanager
    async def open_session(self, _: SessionParameters) -> AsyncIterator[Session]:
        await trio.lowlevel.checkpoint()
        if not self.is_up:
            raise SessionLostError("connection refused")
        yield cast("Session", None)


@autojump
async def test_a_lost_session_is_followed_by_another_until_one_is_used_to_its_end() -> None:
    uses: list[float] = []

    async def use(_: Session) -> None:
        uses.append(trio.current_time())
        await trio.sleep(100)
        if len(uses) < 3:
            raise SessionLostError("lost")

    await keep_session(cast("Rabbit", FakeRabbit()), repeat(PARAMETERS), use, patience=50)
    assert len(uses) == 3


@autojump
async def test_patience_ends_when_there_was_no_session_for_long_enough() -> None:
    rabbit = FakeRabbit()

    async def use(_: Session) -> None:
        await trio.sleep(1000)
        rabbit.is_up = False
        raise SessionLostError("lost")

    started = trio.current_time()
    with pytest.raises(SessionLostError, match="connection refused"):
        await keep_session(cast("Rabbit", rabbit), repeat(PARAMETERS), use, patience=60)
    assert 1060 < trio.current_time() - started < 1070
