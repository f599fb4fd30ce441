"""Everything AMQP, and the only place where asyncio exists.

The rest of the broker knows the names below and nothing else of this package.
"""

from broker.amqp.dead_letter import Parked, dead_letter, read_dead_letter, replayed
from broker.amqp.delivery import Deliveries, Delivery, Got, Publishing, Settlement
from broker.amqp.errors import AmqpError, QueueUnavailableError
from broker.amqp.mover import Moved
from broker.amqp.publisher import Outcome, UnroutableError
from broker.amqp.queue_state import QueueState, QueueType
from broker.amqp.queues import Queues
from broker.amqp.session import Session, SessionLostError, open_session
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.x_death import read_rabbitmqs_dead_letter
from broker.endpoints import AmqpEndpoint

__all__ = [
    "AmqpEndpoint",
    "AmqpError",
    "Deliveries",
    "Delivery",
    "Got",
    "Moved",
    "Outcome",
    "Parked",
    "Publishing",
    "QueueState",
    "QueueType",
    "QueueUnavailableError",
    "Queues",
    "Session",
    "SessionLostError",
    "SessionParameters",
    "Settlement",
    "UnroutableError",
    "dead_letter",
    "open_session",
    "read_dead_letter",
    "read_rabbitmqs_dead_letter",
    "replayed",
]
