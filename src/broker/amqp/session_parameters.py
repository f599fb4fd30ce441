"""How to open a session with RabbitMQ."""

from collections.abc import Mapping

import msgspec

from broker.amqp.delivery import SettlementObserver
from broker.amqp.refusals import Refusals
from broker.amqp.timeouts import AmqpTimeouts
from broker.net.endpoints import AmqpEndpoint
from broker.net.tls import TlsFiles
from broker.settings.amqp_nodes import AmqpNodes
from broker.telemetry.tally import PublishTally


class SessionParameters(msgspec.Struct, frozen=True):
    """How to open a session.

    Attributes:
        queues: Queues that are created if they are missing. What RabbitMQ refuses is tried again
            while the session lives.
        fanouts: Fanout exchanges, likewise. Each can be consumed like a queue of its name, and
            gives then what is published to it from that moment on.
        watched: Queues of which the numbers of messages and consumers are looked up, with the
            seconds between two looks.
        prefetch: Unacknowledged deliveries held at once, per consumer.
        drain_timeout: Seconds that a consumer which stops waits for its last settlements.
        tls: The files for an endpoint with TLS, read again for each connection.
        nodes: Where the login is read again for each connection, if it may change.
        timeouts: How long to wait for RabbitMQ.
    """

    endpoint: AmqpEndpoint
    name: str
    queues: tuple[str, ...] = ()
    fanouts: tuple[str, ...] = ()
    watched: Mapping[str, float] = {}
    prefetch: int = 1000
    drain_timeout: float = 20.0
    tls: TlsFiles = TlsFiles()
    nodes: AmqpNodes | None = None
    timeouts: AmqpTimeouts = AmqpTimeouts()
    tally: PublishTally = msgspec.field(default_factory=PublishTally)
    refusals: Refusals = msgspec.field(default_factory=Refusals)
    observer: SettlementObserver | None = None
