"""How messages go through a system, from an input queue to the acknowledgement."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.bench.scale.model.engine import Clock, Machine, Process, Then
from tests.bench.scale.model.system import Costs, System

_SPARE = 1.25
"""Messages in a live system, as a multiple of what the brokers may hold."""
_CLIENTS = 32
"""Connections of publishers and of the server to each node: so many that they are no limit."""


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation.

    Attributes:
        routed: Messages that were routed and acknowledged.
        rate: Messages per second, from the first to when nothing is left to do.
        node_busy: Share of the nodes' cores that were at work, on average; of all cores when
            everything shares one machine.
        broker_busy: The same of the brokers' cores; 0 when everything shares one machine.
    """

    routed: int
    rate: float
    node_busy: float
    broker_busy: float


def simulate(system: System, costs: Costs, messages: int, seed: int = 0) -> Outcome:
    """Let messages go through a system. The same arguments give the same outcome.

    Args:
        system: The system.
        costs: What everything costs.
        messages: How many messages.
        seed: Of the choice of queues.
    """
    flow = _Flow(system, costs, messages, Random(seed))
    flow.start()
    flow.clock.run()
    return flow.outcome()


class _Queue:
    """A queue: its leader, and who else has its messages."""

    def __init__(self, number: int, system: System, machines: list[Machine]) -> None:
        self.node = number % system.nodes
        self.process = Process(machines[self.node])
        self.followers = [
            (node, Process(machines[node]))
            for node in ((self.node + step) % system.nodes for step in range(1, system.members))
        ]
        self.backlog = 0
        self.ready: deque[int] = deque()
        """Brokers that may take more, in the order of their turns; as often as they may."""


@dataclass(frozen=True)
class _Taken:
    """A message that a broker holds."""

    queue: _Queue
    broker: int


class _Flow:
    def __init__(self, system: System, costs: Costs, messages: int, random: Random) -> None:
        self.clock = Clock()
        self._system = system
        self._costs = costs
        self._random = random
        self._messages = messages
        self._routed = 0
        if system.one_machine:
            self._nodes = [Machine(self.clock, system.cores)] * system.nodes
            self._hosts = self._nodes[:1] * system.brokers
        else:
            self._nodes = [Machine(self.clock, system.cores) for _ in range(system.nodes)]
            self._hosts = [Machine(self.clock, 1) for _ in range(system.brokers)]
        self._logs = [Process(node) for node in self._nodes]
        self._inputs = [_Queue(one, system, self._nodes) for one in range(system.inputs)]
        # Behind the input queues' leaders, so that the leaders spread over all nodes.
        self._outputs = [
            _Queue(system.inputs + one, system, self._nodes) for one in range(system.outputs)
        ]
        self._brokers = [Process(host) for host in self._hosts]
        self._delivering, self._publishing = (
            [Process(self._node_of(broker)) for broker in range(system.brokers)] for _ in range(2)
        )
        self._clients = [[Process(node) for _ in range(_CLIENTS)] for node in self._nodes]
        self._unpublished = 0

    def start(self) -> None:
        """Give brokers their prefetch, and queues their first messages."""
        system = self._system
        for broker in range(system.brokers):
            for number in system.inputs_of(broker):
                self._inputs[number].ready.extend([broker] * system.prefetch)
        for queue in self._inputs:
            turns = list(queue.ready)
            self._random.shuffle(turns)
            queue.ready = deque(turns)
        if system.live:
            population = min(self._messages, int(system.window * _SPARE) or 1)
            self._unpublished = self._messages - population
            self._publish(population)
            return
        for number, queue in enumerate(self._inputs):
            queue.backlog = len(range(number, self._messages, system.inputs))
            self._pump(queue)

    def outcome(self) -> Outcome:
        """Return what came of it; when nothing is left to happen."""
        nodes = self._nodes[:1] if self._system.one_machine else self._nodes
        cores = self._system.cores * len(nodes) * self.clock.now
        return Outcome(
            routed=self._routed,
            rate=self._routed / self.clock.now,
            node_busy=sum(node.busy for node in nodes) / cores,
            broker_busy=0.0
            if self._system.one_machine
            else sum(host.busy for host in self._hosts) / len(self._hosts) / self.clock.now,
        )

    def _node_of(self, broker: int) -> Machine:
        return self._nodes[broker % self._system.nodes]

    def _client(self, queue: _Queue) -> Process:
        return self._random.choice(self._clients[queue.node])

    def _travel(self, same_machine: bool, arrive: Callable[[], None]) -> None:
        self.clock.after(0.0 if same_machine else self._system.round_trip / 2, arrive)

    # Publishers. They keep as many messages in the system as saturate it.

    def _publish(self, count: int) -> None:
        shares = [0] * len(self._inputs)
        for _ in range(count):
            shares[self._random.randrange(len(shares))] += 1
        for queue, share in zip(self._inputs, shares, strict=True):
            if share:
                self._client(queue).put(
                    [queue] * share, self._costs.connection / 2, self._enqueue_input
                )

    def _enqueue_input(self, queues: list[_Queue]) -> None:
        queue = queues[0]
        queue.process.put(
            queues,
            self._costs.put,
            lambda some: self._replicate(queue, some, self._costs.put_replica, self._arrived),
        )

    def _arrived(self, queues: list[_Queue]) -> None:
        queues[0].backlog += len(queues)
        self._pump(queues[0])

    # From an input queue to a broker.

    def _pump(self, queue: _Queue) -> None:
        count = min(queue.backlog, len(queue.ready))
        if count:
            queue.backlog -= count
            taken = [_Taken(queue, queue.ready.popleft()) for _ in range(count)]
            queue.process.put(taken, self._costs.take / 2, self._deliver)

    def _deliver(self, taken: list[_Taken]) -> None:
        for broker, some in _grouped(taken, lambda one: one.broker).items():
            self._travel(
                some[0].queue.node == broker % self._system.nodes,
                lambda broker=broker, some=some: self._delivering[broker].put(  # type: ignore[misc]
                    some, self._costs.connection / 2, self._receive
                ),
            )

    def _receive(self, taken: list[_Taken]) -> None:
        broker = taken[0].broker
        self._travel(
            self._system.one_machine,
            lambda: self._brokers[broker].put(taken, self._costs.broker, self._route),
        )

    # From a broker to the output queues.

    def _route(self, taken: list[_Taken]) -> None:
        broker = taken[0].broker
        self._travel(
            self._system.one_machine,
            lambda: self._publishing[broker].put(taken, self._costs.connection / 2, self._spread),
        )

    def _spread(self, taken: list[_Taken]) -> None:
        broker = taken[0].broker
        shares = _grouped(taken, lambda _: self._random.randrange(len(self._outputs)))
        for number, some in shares.items():
            queue = self._outputs[number]
            self._travel(
                queue.node == broker % self._system.nodes,
                lambda queue=queue, some=some: self._enqueue_output(queue, some),  # type: ignore[misc]
            )

    def _enqueue_output(self, queue: _Queue, taken: list[_Taken]) -> None:
        def stored(some: list[_Taken]) -> None:
            if self._system.live:
                self._hand_to_server(queue, len(some))
            self.clock.after(self._costs.wait, lambda: self._confirm(queue, some))

        queue.process.put(
            taken,
            self._costs.put,
            lambda some: self._replicate(queue, some, self._costs.put_replica, stored),
        )

    def _hand_to_server(self, queue: _Queue, count: int) -> None:
        queue.process.put(
            [queue] * count,
            self._costs.take,
            lambda some: self._replicate(
                queue,
                some,
                self._costs.take_replica,
                lambda same: self._client(queue).put(
                    same, self._costs.connection / 2, lambda _: None
                ),
            ),
        )

    # And back: confirm, acknowledge, next.

    def _confirm(self, output: _Queue, taken: list[_Taken]) -> None:
        near_output = output.node == taken[0].broker % self._system.nodes

        def at_the_broker() -> None:
            for queue, some in _grouped(taken, lambda one: one.queue).items():
                near_input = queue.node == some[0].broker % self._system.nodes
                self._travel(
                    self._system.one_machine,
                    lambda queue=queue, some=some, near=near_input: self._travel(  # type: ignore[misc]
                        near, lambda: self._acknowledge(queue, some)
                    ),
                )

        self._travel(near_output, lambda: self._travel(self._system.one_machine, at_the_broker))

    def _acknowledge(self, queue: _Queue, taken: list[_Taken]) -> None:
        queue.process.put(
            taken,
            self._costs.take / 2,
            lambda some: self._replicate(queue, some, self._costs.take_replica, self._settled),
        )

    def _settled(self, taken: list[_Taken]) -> None:
        queue = taken[0].queue
        self._routed += len(taken)
        queue.ready.extend(one.broker for one in taken)
        self._pump(queue)
        again = min(self._unpublished, len(taken))
        self._unpublished -= again
        self._publish(again)

    def _replicate[T](self, queue: _Queue, items: list[T], cost: float, then: Then[T]) -> None:
        """Let a majority of a quorum queue's members write a command down."""
        if self._system.queue_type == "classic":
            then(items)
            return
        missing = self._system.members // 2 + 1

        def written() -> None:
            nonlocal missing
            missing -= 1
            if missing == 0:
                then(items)

        self._write(queue.node, items, written)
        for node, follower in queue.followers:
            self._travel(
                False,
                lambda node=node, follower=follower: follower.put(  # type: ignore[misc]
                    items,
                    cost,
                    lambda some: self._write(node, some, lambda: self._travel(False, written)),
                ),
            )

    def _write[T](self, node: int, items: list[T], written: Callable[[], None]) -> None:
        self._logs[node].put(items, self._costs.log, lambda _: written())


def _grouped[T, K](items: list[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
