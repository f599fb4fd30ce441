"""The connections of a session, in the AMQP thread."""

from asyncio import Future

from aiormq import Channel

from broker.amqp.confinement import loss, open_channel
from broker.amqp.connection import Connection
from broker.amqp.lifetime import Lifetime
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.wire.errors import AmqpError, describe


class SessionConnections:
    """Opens connections to the node of a session; all that it does may raise `AmqpError`."""

    def __init__(self, parameters: SessionParameters, lifetime: Lifetime) -> None:
        self.parameters = parameters
        self.lifetime = lifetime

    def new(self, purpose: str) -> Connection:
        """Make a connection that the caller opens and closes."""
        parameters = self.parameters
        return Connection(
            parameters.endpoint,
            name=f"{parameters.name} {purpose}",
            tls=parameters.tls,
            nodes=parameters.nodes,
            timeouts=parameters.timeouts,
        )

    async def open(self, purpose: str) -> Connection:
        """Open a connection whose loss ends the session."""
        connection = await self.open_apart(purpose)
        self._end_with(connection.aiormq.closing)
        return connection

    async def open_apart(self, purpose: str) -> Connection:
        """Open a connection whose loss ends nothing; it is closed with the session."""
        connection = self.new(purpose)
        self.lifetime.at_end(connection.close)
        await connection.open()
        return connection

    async def open_channel(self, connection: Connection, *, publisher_confirms: bool) -> Channel:
        """Open a channel whose loss ends the session."""
        channel = await open_channel(connection, publisher_confirms=publisher_confirms)
        self._end_with(channel.closing)
        return channel

    def _end_with(self, closing: Future[None]) -> None:
        def closed(future: Future[None]) -> None:
            self.lifetime.fail(AmqpError(describe(loss(future))))

        closing.add_done_callback(closed)
