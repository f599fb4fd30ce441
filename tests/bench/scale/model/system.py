"""What is simulated: costs, and an arrangement of machines, queues and brokers."""

from dataclasses import dataclass

from tests.bench.scale.results import QueueType

REPLICAS = 3
"""Members of a quorum queue; RabbitMQ's default."""


@dataclass(frozen=True)
class Costs:
    """Processor seconds per message, unless said otherwise.

    Attributes:
        broker: Of a broker.
        connection: Of a node's processes for a broker's connection.
        take: Of an input queue, for delivery and acknowledgement.
        put: Of an output queue, for a publishing.
        take_replica: Of each other member of a quorum queue, for delivery and acknowledgement.
        put_replica: The same for a publishing.
        log: Of the log that the quorum queues of a node share, for each command: a publishing or
            an acknowledgement.
        wait: Seconds, not of a processor, from a publishing to its confirm.
    """

    broker: float
    connection: float
    take: float
    put: float
    take_replica: float = 0.0
    put_replica: float = 0.0
    log: float = 0.0
    wait: float = 0.0


def slowed(costs: Costs, speed: float) -> Costs:
    """Return what everything costs when processors have only that share of their speed."""
    return Costs(
        broker=costs.broker / speed,
        connection=costs.connection / speed,
        take=costs.take / speed,
        put=costs.put / speed,
        take_replica=costs.take_replica / speed,
        put_replica=costs.put_replica / speed,
        log=costs.log / speed,
        wait=costs.wait,
    )


@dataclass(frozen=True)
class System:
    """Machines, queues and brokers.

    Attributes:
        queue_type: Of all queues.
        nodes: Of RabbitMQ, which lead the queues in turn.
        cores: Of each node.
        brokers: How many; each on a core of its own.
        inputs: Input queues.
        outputs: Output queues.
        prefetch: Of each broker for each input queue that it takes from.
        round_trip: Seconds between two machines and back.
        takes_all: Whether each broker takes from all input queues, or the brokers share them out.
        one_machine: Whether everything shares the cores of one machine.
        live: Whether messages are published into the input queues and taken from the output queues
            meanwhile, or wait in the input queues from the start and pile up in the output queues.
    """

    queue_type: QueueType
    nodes: int
    cores: int
    brokers: int
    inputs: int = 1
    outputs: int = 1
    prefetch: int = 1_000
    round_trip: float = 0.0
    takes_all: bool = True
    one_machine: bool = False
    live: bool = False

    @property
    def members(self) -> int:
        """How many nodes have a queue's messages."""
        return min(REPLICAS, self.nodes) if self.queue_type == "quorum" else 1

    def inputs_of(self, broker: int) -> tuple[int, ...]:
        """Return the input queues that a broker takes from."""
        if self.takes_all:
            return tuple(range(self.inputs))
        if self.brokers < self.inputs:
            return tuple(range(broker, self.inputs, self.brokers))
        return (broker % self.inputs,)

    @property
    def window(self) -> int:
        """How many messages brokers may hold together."""
        return self.prefetch * sum(len(self.inputs_of(broker)) for broker in range(self.brokers))


def node_cost(system: System, costs: Costs) -> float:
    """Return processor seconds of all nodes together per message."""
    replicas = system.members - 1
    queues = costs.take + costs.put + replicas * (costs.take_replica + costs.put_replica)
    logs = 2 * costs.log * system.members if system.queue_type == "quorum" else 0.0
    # The same again on the other side: publishers, and the server that takes what was routed.
    return (costs.connection + queues + logs) * (2 if system.live else 1)


def nodes_bound(system: System, costs: Costs) -> float:
    """Return messages per second that the nodes cannot exceed, with any number of queues."""
    if system.one_machine:
        rates = [system.cores / (node_cost(system, costs) + costs.broker)]
    else:
        rates = [system.nodes * system.cores / node_cost(system, costs)]
    if system.queue_type == "quorum" and costs.log:
        # One process on each node, whatever the number of cores and queues.
        commands = 4 if system.live else 2
        rates.append(system.nodes / (commands * system.members * costs.log))
    return min(rates)


def queue_cost(system: System, costs: Costs) -> tuple[float, float]:
    """Return seconds per message of the queue's one process: of an input and of an output queue."""
    opposite = 1 if system.live else 0
    return costs.take + opposite * costs.put, costs.put + opposite * costs.take


def bound(system: System, costs: Costs) -> float:
    """Return messages per second that a system cannot exceed, however its work is arranged."""
    take, put = queue_cost(system, costs)
    return min(
        nodes_bound(system, costs),
        system.brokers / max(costs.broker, costs.connection / 2),
        system.inputs / take,
        system.outputs / put,
    )
