"""What the router decides by: queues, limits, and how receivers are chosen."""

import msgspec

from broker.core.routing.policy import choose_at_random
from broker.core.routing.receivers import ReceiverRule
from broker.core.routing.route import Choose


class Topology(msgspec.Struct, frozen=True):
    """The queues and the exchange between agents, broker and server.

    All messages for an agent go to the same output, and everything not addressed to an agent goes
    to the first.
    """

    inputs: tuple[str, ...]  # of chat messages, at least one
    outputs: tuple[str, ...]  # for the server, at least one
    metadata: str  # of registrations
    advertisement: str
    dead_letter: str
    registry_exchange: str  # a fanout, through which brokers share registry events
    held: str = "broker_hold_queue"  # messages that nobody can receive yet


class Limits(msgspec.Struct, frozen=True):
    """What the router does not go beyond."""

    max_message_bytes: int
    max_agents: int  # that are known
    max_hops: int = 0  # messages that answer each other in a row; 0 means any number


class Routing(msgspec.Struct, frozen=True):
    """How the receivers of messages are chosen."""

    choose: Choose = choose_at_random
    receiver: ReceiverRule = ReceiverRule.IGNORE
    follows_answers: bool = False  # whether it matters what answers what


AT_RANDOM = Routing()
"""The default."""
