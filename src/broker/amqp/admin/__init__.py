"""What only commands do with RabbitMQ: inspect, empty, move and replay.

The command line knows the names below and those of `broker.amqp`, and nothing else of the two.
"""

from broker.amqp.admin.dead_letters import (
    RABBITMQS_REASONS,
    DeadLetterLabel,
    read_dead_letter,
    read_rabbitmqs_dead_letter,
    replayed,
)
from broker.amqp.admin.delivery_limit import QuorumArguments
from broker.amqp.admin.getter import Got
from broker.amqp.admin.mover import Moved
from broker.amqp.admin.parts import Part, joined, read_part
from broker.amqp.admin.probe import ExchangeReport, NodeReport, ProbeError, QueueReport, probe_node
from broker.amqp.admin.queue_state import QueueState, QueueType
from broker.amqp.admin.queues import Queues
from broker.amqp.admin.session import AdminSession, open_admin_session
from broker.amqp.wire.properties import DELIVERY_COUNT_HEADER

__all__ = [
    "DELIVERY_COUNT_HEADER",
    "RABBITMQS_REASONS",
    "AdminSession",
    "DeadLetterLabel",
    "ExchangeReport",
    "Got",
    "Moved",
    "NodeReport",
    "Part",
    "ProbeError",
    "QueueReport",
    "QueueState",
    "QueueType",
    "Queues",
    "QuorumArguments",
    "joined",
    "open_admin_session",
    "probe_node",
    "read_dead_letter",
    "read_part",
    "read_rabbitmqs_dead_letter",
    "replayed",
]
