"""Whether RabbitMQ still confirms, or leaves messages without an answer."""

import asyncio
import secrets

from broker.amqp.connection import Connection
from broker.amqp.publisher import Publisher, PublishOutcome
from broker.amqp.timeouts import AmqpTimeouts
from broker.amqp.wire.errors import AmqpError
from broker.amqp.wire.publishing import Publishing

_LOOKS = 30
"""How often it looks at the time until RabbitMQ has confirmed nothing for too long."""


class ConfirmWatch:
    """Watches the confirms of one publisher. Runs in the asyncio event loop.

    A quorum queue without a majority neither takes a message nor refuses it. Then nothing else may
    be under way, and RabbitMQ is well. So it is asked: a message to nowhere comes back at once.

    Attributes:
        is_blocked: Whether RabbitMQ takes no messages because of an alarm, as of a second ago at
            most.
    """

    def __init__(self, publisher: Publisher, timeouts: AmqpTimeouts) -> None:
        self._publisher = publisher
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._asking = False
        self._asked = self._answered = 0
        self._overdue_since: float | None = None
        self.is_blocked = False

    @property
    def overdue(self) -> int:
        """How many messages have no answer although RabbitMQ answers. Another thread may ask."""
        if self._overdue_since is None:
            return 0
        return self._publisher.unconfirmed_before(self._answered)

    async def run(self, connection: Connection) -> None:
        """Watch until the connection that is published on closes.

        Raises:
            AmqpError: It confirmed nothing for too long.
        """
        unsent = 0
        while not connection.aiormq.is_closed:
            await asyncio.sleep(self._timeouts.confirm / _LOOKS)
            self.is_blocked = await connection.is_blocked()
            # A large body on a slow line takes its time to leave.
            is_leaving = connection.writer.unsent != unsent
            unsent = connection.writer.unsent
            self.check(is_blocked=self.is_blocked or is_leaving)

    def check(self, *, is_blocked: bool) -> None:
        """Look at the time; to be called about once a second.

        Args:
            is_blocked: Whether RabbitMQ does not read, or not as fast as the broker writes.

        Raises:
            AmqpError: It confirmed nothing for too long.
        """
        publisher, timeouts, now = self._publisher, self._timeouts, self._loop.time()
        if self._overdue_since is not None and not self.overdue:
            self._overdue_since = None
        if is_blocked:
            publisher.last_progress = now
            self._overdue_since = self._overdue_since and now
        if not publisher.unconfirmed:
            return
        silence = now - publisher.last_progress
        if silence > timeouts.confirm:
            raise AmqpError(f"RabbitMQ confirmed nothing for {timeouts.confirm:g} s")
        if self._overdue_since is not None and now - self._overdue_since > timeouts.overdue:
            raise AmqpError(f"RabbitMQ did not confirm messages for {timeouts.overdue:g} s")
        if silence > timeouts.confirm / 2 and not self._asking:
            self._asking = True
            nowhere = Publishing(f"nowhere-{secrets.token_hex(8)}", b"", "")
            publisher.submit([(nowhere, self._came_back)])
            self._asked = publisher.last_number

    def _came_back(self, _: PublishOutcome) -> None:
        self._asking = False
        self._answered = self._asked
        if self._overdue_since is None:
            self._overdue_since = self._loop.time()
