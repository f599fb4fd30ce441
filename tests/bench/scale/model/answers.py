"""Everything that the model says, out of one set of measured results."""

from dataclasses import dataclass

from tests.bench.scale.model.calibration import Calibration, Prediction, calibrated, predictions
from tests.bench.scale.model.sizing import Capacity, Size, capacity, one_queue, saturating, size
from tests.bench.scale.plan import CLUSTER, QUEUE_TYPES
from tests.bench.scale.results import ScaleResults

_NODES = (3, 5, 9)
_CORES = (8, 16)
RATES = (1e3, 1e5, 1e7)
"""Messages per second for which it says what they take."""
SIZED_CORES = 16


@dataclass(frozen=True)
class Answers:
    """What the model says.

    Attributes:
        calibrations: What it knows.
        predictions: How far it is off.
        one_queue: What clusters do with one input and one output queue.
        saturated: What they do with as many queues and brokers as are of use.
        sizes: What rates take, and what that does at its limit.
    """

    calibrations: list[Calibration]
    predictions: list[Prediction]
    one_queue: list[Capacity]
    saturated: list[Capacity]
    sizes: list[tuple[Size, Capacity]]


def answers(results: ScaleResults) -> Answers:
    """Calibrate the model and ask it what cannot be measured here: quorum queues on big clusters.

    Takes about a minute.
    """
    known = [
        calibration
        for nodes in (1, CLUSTER)
        for queue_type in QUEUE_TYPES
        if (calibration := calibrated(results, nodes, queue_type)) is not None
    ]
    clustered = [
        one.effective for one in known if (one.nodes, one.queue_type) == (CLUSTER, "quorum")
    ]
    clusters = [
        (nodes, cores, costs) for costs in clustered for nodes in _NODES for cores in _CORES
    ]
    sizes = [size(rate, "quorum", SIZED_CORES, costs) for costs in clustered for rate in RATES]
    return Answers(
        calibrations=known,
        predictions=list(predictions(results, known)),
        one_queue=[
            capacity(one_queue("quorum", nodes, cores, costs), costs)
            for nodes, cores, costs in clusters
        ],
        saturated=[
            capacity(saturating("quorum", nodes, cores, costs), costs)
            for nodes, cores, costs in clusters
        ],
        sizes=[(one, capacity(one.system, costs)) for costs in clustered for one in sizes],
    )
