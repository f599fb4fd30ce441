"""What it takes to route so many messages a second, and what a set of nodes can do at most."""

from dataclasses import dataclass
from math import ceil

from tests.bench.scale.model.flow import Outcome, simulate
from tests.bench.scale.model.system import Costs, System, bound, nodes_bound, queue_cost
from tests.bench.scale.results import QueueType

ROUND_TRIP = 0.0005
"""Seconds between two machines and back: within a datacentre. An assumption."""
LOAD = 0.6
"""Share of its capacity at which a part is meant to work: the rest is for bursts and failures."""
MOST_NODES = 9
"""Of one cluster: every node keeps a connection to every other and a copy of what queues exist."""
FEWEST_NODES = 3
"""Of a cluster whose quorum queues survive a node."""
_PREFETCH = 1_000
"""The broker's default."""
_MESSAGES = 10_000
_WINDOWS = 3
"""Messages in a simulation, in windows of the brokers, at least."""


@dataclass(frozen=True)
class Capacity:
    """What a system does when it has more to do than it can.

    Attributes:
        system: The system.
        bound: Messages per second that no arrangement of the work can exceed.
        outcome: Of the simulation.
    """

    system: System
    bound: float
    outcome: Outcome


def capacity(system: System, costs: Costs) -> Capacity:
    """Simulate a system at its limit."""
    messages = max(_MESSAGES, _WINDOWS * system.window)
    return Capacity(system, bound(system, costs), simulate(system, costs, messages))


def saturating(queue_type: QueueType, nodes: int, cores: int, costs: Costs) -> System:
    """Return as many queues and brokers as let the nodes do all that they can."""
    alone = _system(queue_type, nodes, cores, brokers=1, queues=1)
    rate = nodes_bound(alone, costs)
    # As many queues on each node.
    queues = nodes * ceil(rate * max(queue_cost(alone, costs)) / nodes)
    # As many brokers for each queue, which some of them would leave to others otherwise.
    brokers = queues * ceil(rate * _broker_cost(costs) / queues)
    return _system(queue_type, nodes, cores, brokers, queues)


def one_queue(queue_type: QueueType, nodes: int, cores: int, costs: Costs) -> System:
    """Return the same nodes with one input and one output queue, and brokers for these."""
    alone = _system(queue_type, nodes, cores, brokers=1, queues=1)
    brokers = ceil(_broker_cost(costs) / max(queue_cost(alone, costs)))
    return _system(queue_type, nodes, cores, brokers, queues=1)


@dataclass(frozen=True)
class Size:
    """What it takes to route so many messages a second.

    Attributes:
        rate: Messages per second.
        clusters: Of RabbitMQ, next to each other, with nothing in common.
        system: One of them, with its brokers.
    """

    rate: float
    clusters: int
    system: System


def size(rate: float, queue_type: QueueType, cores: int, costs: Costs) -> Size:
    """Return what routes so many messages a second with every part at `LOAD` of its capacity.

    Args:
        rate: Messages per second.
        queue_type: Of the queues.
        cores: Of each node.
        costs: What everything costs.
    """
    fewest = _system(queue_type, FEWEST_NODES, cores, brokers=1, queues=1)
    one_node = LOAD * nodes_bound(fewest, costs) / FEWEST_NODES
    nodes = max(FEWEST_NODES, ceil(rate / one_node))
    clusters = ceil(nodes / MOST_NODES)
    each = rate / clusters
    queues = ceil(each * max(queue_cost(fewest, costs)) / LOAD)
    # Two at least, so that one may fail, and as many for each queue.
    brokers = max(2, queues * ceil(each * _broker_cost(costs) / LOAD / queues))
    nodes = max(FEWEST_NODES, ceil(nodes / clusters))
    return Size(rate, clusters, _system(queue_type, nodes, cores, brokers, queues))


def _broker_cost(costs: Costs) -> float:
    """Return seconds per message of whatever limits a broker: itself, or its connection."""
    return max(costs.broker, costs.connection / 2)


def _system(queue_type: QueueType, nodes: int, cores: int, brokers: int, queues: int) -> System:
    return System(
        queue_type,
        nodes,
        cores,
        brokers,
        inputs=queues,
        outputs=queues,
        prefetch=_PREFETCH,
        round_trip=ROUND_TRIP,
        takes_all=False,
        live=True,
    )
