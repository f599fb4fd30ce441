"""Costs out of measured runs, and how far the model is off where it was not calibrated."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import fmean, median

from tests.bench.scale.erlang_work import CONNECTION, LOG, REST
from tests.bench.scale.model.flow import simulate
from tests.bench.scale.model.system import Costs, System, slowed
from tests.bench.scale.plan import base, small_window
from tests.bench.scale.results import Layout, QueueType, ScaleResults, ScaleRun, sound_runs
from tests.bench.scale.site import input_queues, output_queues

_STEPS = 10
"""Of a search: each halves what is left."""
_LONGEST_WAIT = 0.05
_LEAST_EFFICIENCY = 0.05
_MICROSECOND = 1e-6


@dataclass(frozen=True)
class Calibration:
    """What the model knows of one kind of cluster and queue.

    Attributes:
        nodes: Of RabbitMQ.
        queue_type: Of the queues.
        costs: What everything costs.
        efficiency: The share of the processors' time that gets used by that, at most: what is
            missing goes to whatever the model does not know.
    """

    nodes: int
    queue_type: QueueType
    costs: Costs
    efficiency: float

    @property
    def effective(self) -> Costs:
        """The costs with what the model does not know added to them."""
        return slowed(self.costs, self.efficiency)


@dataclass(frozen=True)
class Prediction:
    """What the model says of a layout, beside what was measured.

    Attributes:
        layout: Which.
        measured: Messages per second, the median.
        modelled: Messages per second.
        is_calibrated: Whether the model's costs were taken from this very layout.
    """

    layout: Layout
    measured: float
    modelled: float
    is_calibrated: bool

    @property
    def error(self) -> float:
        """How far the model is off, as a share of what was measured."""
        return self.modelled / self.measured - 1


def calibrated(results: ScaleResults, nodes: int, queue_type: QueueType) -> Calibration | None:
    """Return what was learned with so many nodes and such queues; None if too little was measured.

    Args:
        results: What was measured.
        nodes: How many.
        queue_type: Of the queues.
    """
    runs = sound_runs(results)
    fast, slow = runs.get(base(nodes, queue_type)), runs.get(small_window(nodes, queue_type))
    if not fast or not slow:
        return None
    costs = _processor_costs(fast)
    # A large window hides any wait, so that one can be known after the other.
    efficiency = _searched(
        lambda share: _rate(fast, slowed(costs, share), results.cores) < _median_rate(fast),
        _LEAST_EFFICIENCY,
        1.0,
    )
    used = slowed(costs, efficiency)
    wait = _searched(
        lambda wait: _rate(slow, replace(used, wait=wait), results.cores) > _median_rate(slow),
        0.0,
        _LONGEST_WAIT,
    )
    return Calibration(nodes, queue_type, replace(costs, wait=wait), efficiency)


def predictions(results: ScaleResults, known: Iterable[Calibration]) -> Iterator[Prediction]:
    """Yield what the model says of every layout that was measured, if it knows its costs.

    Args:
        results: What was measured.
        known: What the model knows.
    """
    by_kind = {(one.nodes, one.queue_type): one for one in known}
    for layout, mine in sound_runs(results).items():
        where = layout.nodes, layout.queue_type
        calibration = by_kind.get(where)
        if calibration is not None:
            yield Prediction(
                layout,
                measured=_median_rate(mine),
                modelled=_rate(mine, calibration.effective, results.cores),
                is_calibrated=layout in {base(*where), small_window(*where)},
            )


def _median_rate(runs: list[ScaleRun]) -> float:
    return median(run.rate for run in runs)


def _rate(runs: list[ScaleRun], costs: Costs, cores: int) -> float:
    """Return the rate of the model where these runs were, with what others took of the cores."""
    others = median(run.others_share(cores) for run in runs)
    system = as_measured(runs[0].layout, cores)
    return simulate(system, slowed(costs, 1 - others), runs[0].messages).rate


def as_measured(layout: Layout, cores: int) -> System:
    """Return a layout as a system that shares the cores of one machine."""
    return System(
        layout.queue_type,
        layout.nodes,
        cores,
        layout.brokers,
        layout.shards,
        layout.shards,
        layout.prefetch,
        one_machine=True,
    )


def _processor_costs(runs: list[ScaleRun]) -> Costs:
    """Divide the nodes' processor time as their Erlang processes divided the work."""
    layout = runs[0].layout
    nodes_cost = median(run.node_microseconds for run in runs) * _MICROSECOND
    work: dict[tuple[str, int], int] = {}
    for run in runs:
        for node, done in enumerate(run.work):
            for purpose, count in done.items():
                work[purpose, node] = work.get((purpose, node), 0) + count
    # What is nobody's, such as timers, is shared by those who work.
    whole = sum(count for (purpose, _), count in work.items() if purpose != REST)

    def cost(purpose: str, nodes: range) -> float:
        return sum(work.get((purpose, node), 0) for node in nodes) / whole * nodes_cost

    def replica(queue: str) -> float:
        return fmean(cost(queue, range(node, node + 1)) for node in others) if others else 0.0

    everywhere, leader, others = range(layout.nodes), range(1), range(1, layout.nodes)
    [taken_from], [put_into] = input_queues(layout), output_queues(layout)
    is_quorum = layout.queue_type == "quorum"
    return Costs(
        broker=median(run.broker_microseconds for run in runs) * _MICROSECOND,
        connection=cost(CONNECTION, everywhere),
        take=cost(taken_from, leader),
        put=cost(put_into, leader),
        take_replica=replica(taken_from) if is_quorum else 0.0,
        put_replica=replica(put_into) if is_quorum else 0.0,
        # Each message is two commands, and each member writes both down.
        log=cost(LOG, everywhere) / 2 / layout.nodes if is_quorum else 0.0,
    )


def _searched(is_too_low: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_too_low(middle) else (low, middle)
    return low
