"""How to open a session with RabbitMQ."""

import ssl

import msgspec

from broker.endpoints import AmqpEndpoint
from broker.observe.tally import PublishTally


class SessionParameters(msgspec.Struct, frozen=True):
    """How to open a session.

    Attributes:
        endpoint: The RabbitMQ node.
        name: Names the connections in RabbitMQ's own listings.
        queues: Queues that are created if they are missing. What RabbitMQ refuses is tried again
            while the session lives.
        fanouts: Fanout exchanges, likewise. Each can be consumed like a queue of its name, and
            gives then what is published to it from that moment on.
        prefetch: Unacknowledged deliveries held at once, per consumer.
        drain_timeout: Seconds that a consumer which stops waits for its last settlements.
        tls: For endpoints with TLS.
        tally: Counts what becomes of the publishings.
    """

    endpoint: AmqpEndpoint
    name: str
    queues: tuple[str, ...] = ()
    fanouts: tuple[str, ...] = ()
    prefetch: int = 1000
    drain_timeout: float = 20.0
    tls: ssl.SSLContext | None = None
    tally: PublishTally = msgspec.field(default_factory=PublishTally)
