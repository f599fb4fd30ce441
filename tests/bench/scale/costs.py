"""What a message costs each part of a system, from measured runs."""

from dataclasses import dataclass
from statistics import fmean, median

from tests.bench.scale.erlang_work import CONNECTION, LOG, REST
from tests.bench.scale.results import ScaleRun
from tests.bench.scale.site import input_queues, output_queues


@dataclass(frozen=True)
class Costs:
    """Processor microseconds per message.

    Attributes:
        broker: Of a broker.
        connection: Of the nodes, for the brokers' connections.
        take: Of an input queue, for delivery and acknowledgement.
        put: Of an output queue, for a publishing.
        replica: Of each other member of these two, for all of it.
        log: Of the log that the quorum queues of a node share, on each node with a member.
    """

    broker: float
    connection: float
    take: float
    put: float
    replica: float
    log: float


def costs_of(runs: list[ScaleRun]) -> Costs:
    """Divide the nodes' processor time as their Erlang processes divided the work.

    Args:
        runs: Of one layout with one queue of each kind, led by the first node.
    """
    layout = runs[0].layout
    work: dict[tuple[str, int], int] = {}
    for run in runs:
        for node, done in enumerate(run.work):
            for purpose, count in done.items():
                work[purpose, node] = work.get((purpose, node), 0) + count
    # What serves no message in particular, such as timers, is divided like the rest.
    whole = sum(count for (purpose, _), count in work.items() if purpose != REST)
    nodes_cost = median(run.node_microseconds for run in runs)

    def cost(purpose: str, *nodes: int) -> float:
        return sum(work.get((purpose, node), 0) for node in nodes) / whole * nodes_cost

    leader, *others = range(layout.nodes)
    [taken_from], [put_into] = input_queues(layout), output_queues(layout)
    return Costs(
        broker=median(run.broker_microseconds for run in runs),
        connection=cost(CONNECTION, leader, *others),
        take=cost(taken_from, leader),
        put=cost(put_into, leader),
        replica=fmean(cost(taken_from, node) + cost(put_into, node) for node in others)
        if others
        else 0.0,
        log=cost(LOG, leader, *others) / layout.nodes,
    )
