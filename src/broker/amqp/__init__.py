"""Everything AMQP, and the only place where asyncio exists.

The rest of the broker knows the names below and those of `broker.amqp.admin`, and nothing else of
this package.
"""

from broker.amqp.border import SessionLostError
from broker.amqp.dead_letter import dead_letter
from broker.amqp.delivery import (
    DeadLetterAddress,
    Deliveries,
    Delivery,
    Settlement,
    SettlementObserver,
)
from broker.amqp.link import AmqpLink, HeldQueue
from broker.amqp.publisher import PublishOutcome, UnroutableError
from broker.amqp.queue_history import QueueCounts
from broker.amqp.rabbit import Rabbit, open_rabbit
from broker.amqp.refusal import RefusedError
from broker.amqp.refusals import Refusals
from broker.amqp.session import Session
from broker.amqp.session_parameters import SessionParameters
from broker.amqp.suspects import PublishingRefusedError
from broker.amqp.timeouts import AmqpTimeouts
from broker.amqp.wire.errors import AmqpError, QueueUnavailableError
from broker.amqp.wire.held import Held, held_headers
from broker.amqp.wire.publishing import Publishing
from broker.net.endpoints import AmqpEndpoint

__all__ = [
    "AmqpEndpoint",
    "AmqpError",
    "AmqpLink",
    "AmqpTimeouts",
    "DeadLetterAddress",
    "Deliveries",
    "Delivery",
    "Held",
    "HeldQueue",
    "PublishOutcome",
    "Publishing",
    "PublishingRefusedError",
    "QueueCounts",
    "QueueUnavailableError",
    "Rabbit",
    "Refusals",
    "RefusedError",
    "Session",
    "SessionLostError",
    "SessionParameters",
    "Settlement",
    "SettlementObserver",
    "UnroutableError",
    "dead_letter",
    "held_headers",
    "open_rabbit",
]
