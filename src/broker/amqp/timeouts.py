"""How long a session waits for RabbitMQ."""

import msgspec


class AmqpTimeouts(msgspec.Struct, frozen=True):
    """Seconds after which RabbitMQ has failed.

    Attributes:
        connect: For a connection to be open, login included.
        silence: Without anything from RabbitMQ, which promises a sign of life every 10 s: a network
            that swallows everything ends no connection.
        confirm: Without any confirm while some are awaited and RabbitMQ could confirm them.
        overdue: Without the confirms of some messages while RabbitMQ confirms others. Long, as a
            new session would only move them to and fro: a quorum queue without a majority answers
            when it has one again.
    """

    connect: float = 10.0
    silence: float = 20.0
    confirm: float = 30.0
    overdue: float = 900.0
