"""Everything AMQP, and the only place where asyncio exists.

The rest of the broker knows the names below and nothing else of this package.
"""

from broker.amqp.asyncio_session import SessionParameters
from broker.amqp.dead_letter import dead_letter
from broker.amqp.delivery import Deliveries, Delivery, Publishing, Settlement
from broker.amqp.errors import AmqpError
from broker.amqp.publisher import UnroutableError
from broker.amqp.session import Session, SessionLostError, open_session
from broker.endpoints import AmqpEndpoint

__all__ = [
    "AmqpEndpoint",
    "AmqpError",
    "Deliveries",
    "Delivery",
    "Publishing",
    "Session",
    "SessionLostError",
    "SessionParameters",
    "Settlement",
    "UnroutableError",
    "dead_letter",
    "open_session",
]
