"""Everything AMQP, and the only place where asyncio exists.

The rest of the broker knows the names below and nothing else of this package.
"""

from broker.amqp.admin.mover import Moved
from broker.amqp.admin.queue_state import QueueState, QueueType
from broker.amqp.admin.queues import Queues
from broker.amqp.admin.x_death import read_rabbitmqs_dead_letter
from broker.amqp.dead_letter import Parked, dead_letter, read_dead_letter, replayed
from broker.amqp.delivery import (
    DeadLetterAddress,
    Deliveries,
    Delivery,
    Got,
    Publishing,
    Settlement,
    SettlementObserver,
)
from broker.amqp.errors import AmqpError, QueueUnavailableError
from broker.amqp.parts import Part, joined, read_part
from broker.amqp.publisher import PublishOutcome, UnroutableError
from broker.amqp.rabbit import Rabbit, open_rabbit
from broker.amqp.refusals import Refusals
from broker.amqp.session import Session, SessionLostError
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.suspects import PublishingRefusedError
from broker.amqp.wire.properties import DELIVERY_COUNT_HEADER
from broker.net.endpoints import AmqpEndpoint

__all__ = [
    "DELIVERY_COUNT_HEADER",
    "AmqpEndpoint",
    "AmqpError",
    "DeadLetterAddress",
    "Deliveries",
    "Delivery",
    "Got",
    "Moved",
    "Parked",
    "Part",
    "PublishOutcome",
    "Publishing",
    "PublishingRefusedError",
    "QueueState",
    "QueueType",
    "QueueUnavailableError",
    "Queues",
    "Rabbit",
    "Refusals",
    "Session",
    "SessionLostError",
    "SessionParameters",
    "Settlement",
    "SettlementObserver",
    "UnroutableError",
    "dead_letter",
    "joined",
    "open_rabbit",
    "read_dead_letter",
    "read_part",
    "read_rabbitmqs_dead_letter",
    "replayed",
]
