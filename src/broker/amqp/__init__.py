"""Everything AMQP, and the only place where asyncio exists.

The rest of the broker knows the names below and nothing else of this package.
"""

from broker.amqp.asyncio_session import SessionParameters
from broker.amqp.dead_letter import Parked, dead_letter, read_dead_letter, replayed
from broker.amqp.delivery import Deliveries, Delivery, Got, Publishing, Settlement
from broker.amqp.errors import AmqpError
from broker.amqp.publisher import Outcome, UnroutableError
from broker.amqp.session import Session, SessionLostError, open_session
from broker.endpoints import AmqpEndpoint

__all__ = [
    "AmqpEndpoint",
    "AmqpError",
    "Deliveries",
    "Delivery",
    "Got",
    "Outcome",
    "Parked",
    "Publishing",
    "Session",
    "SessionLostError",
    "SessionParameters",
    "Settlement",
    "UnroutableError",
    "dead_letter",
    "open_session",
    "read_dead_letter",
    "replayed",
]
