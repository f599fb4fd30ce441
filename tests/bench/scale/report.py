"""What was measured and what the model says, as Markdown."""

from collections.abc import Iterator, Sequence
from statistics import median

from tests.bench.markdown import section, table
from tests.bench.scale.model.answers import Answers
from tests.bench.scale.model.calibration import Calibration
from tests.bench.scale.model.sizing import LOAD, MOST_NODES, ROUND_TRIP, Capacity
from tests.bench.scale.model.system import System, node_cost, queue_cost
from tests.bench.scale.results import Registry, ScaleResults, ScaleRun, sound_runs, title

_MICROSECONDS = 1e6
_MILLISECONDS = 1e3
_MB = 1e6
_AGENTS = (1_000, 100_000, 1_000_000)
_REPLICAS = (3, 30)
_CHANGES_EVERY = 600
"""Seconds from one change of an agent's status to its next, in the table of traffic."""


def markdown(results: ScaleResults, model: Answers) -> str:
    """Return all tables."""
    return "\n".join(_lines(results, model)) + "\n"


def _lines(results: ScaleResults, model: Answers) -> Iterator[str]:
    yield from section("Measured", _measured(results))
    yield ""
    yield (
        f"300-byte messages; median of the runs and, in brackets, the slowest and the fastest. "
        f"All brokers and nodes share {results.cores} cores: CPU per message is what carries over "
        "to other machines, the rate is not. *Cores busy* are those of brokers and nodes; *with "
        "others* adds what else the machine did, the benchmark's own looking included."
    )
    yield from section("What a message costs", _costs(model))
    yield ""
    yield (
        "Processor time per message. That of the nodes is divided as Erlang counts the work of "
        "their processes. *take* is a delivery and its acknowledgement, *put* a publishing, a "
        "replica is what each other member of a quorum queue does for both. The rest is no work "
        "and fitted, once for each row: *wait* is what else is in the round trip of a small "
        "window, and *efficiency* is the share of the cores that gets used at most."
    )
    yield from section("The model beside the measurements", _predictions(model))
    yield ""
    yield _accuracy(model)
    if model.saturated:
        yield from section("What one part can do", _parts(model))
        yield from section("What a cluster can do", _capacities(model))
        yield ""
        yield (
            f"Quorum queues, with publishers and a server that take part, {ROUND_TRIP * 1e3:g} ms "
            "between two machines and back, each broker on a core of its own. *bound* is what "
            "no arrangement of the work can exceed."
        )
        yield from section("What it takes", _sizes(model))
        yield ""
        yield (
            f"Every part works at {LOAD:.0%} of its capacity at most. A cluster has {MOST_NODES} "
            "nodes at most; what is more goes to further clusters, each with brokers, agents and "
            "a server of its own."
        )
    if results.registry is not None:
        yield from section("What agents take", _registry(results.registry))
        yield ""
        yield (
            f"Measured with {results.registry.agents:,} agents; each changes its status every "
            f"{_CHANGES_EVERY // 60} minutes. The server sends every change to every broker."
        )
    wrong = [run for run in results.runs if run.problems]
    yield from ("", f"Wrong runs: {len(wrong)} of {len(results.runs)}.")
    for run in wrong:
        yield from ("", f"A run with {title(run.layout)} was wrong: {'; '.join(run.problems)}.")
    yield from section("Machine", table(("", ""), results.machine.items()))


def _measured(results: ScaleResults) -> Iterator[str]:
    return table(
        (
            *("nodes", "queues", "brokers", "in/out queues", "prefetch", "messages/s"),
            *("CPU of brokers", "CPU of RabbitMQ", "cores busy", "with others", "runs"),
        ),
        (
            (
                str(layout.nodes),
                layout.queue_type,
                str(layout.brokers),
                f"{layout.shards} / {layout.shards}",
                f"{layout.prefetch:,}",
                *_measured_row(runs, results.cores),
                str(len(runs)),
            )
            for layout, runs in sound_runs(results).items()
        ),
    )


def _measured_row(runs: list[ScaleRun], cores: int) -> Sequence[str]:
    rates = sorted(run.rate for run in runs)
    ours = median((run.broker_cpu + sum(run.node_cpu)) / run.seconds / cores for run in runs)
    everybody = median(run.machine_cpu / run.seconds / cores for run in runs)
    return (
        f"{median(rates):,.0f} ({rates[0]:,.0f} ... {rates[-1]:,.0f})",
        f"{median(run.broker_microseconds for run in runs):.0f} us",
        f"{median(run.node_microseconds for run in runs):.0f} us",
        f"{ours:.0%}",
        f"{everybody:.0%}",
    )


def _costs(model: Answers) -> Iterator[str]:
    return table(
        (
            *("nodes", "queues", "broker", "its connection", "input queue: take"),
            *("output queue: put", "each replica", "log, each member", "wait", "efficiency"),
        ),
        (
            (
                str(one.nodes),
                one.queue_type,
                _microseconds(one.costs.broker),
                _microseconds(one.costs.connection),
                _microseconds(one.costs.take),
                _microseconds(one.costs.put),
                _microseconds(one.costs.take_replica + one.costs.put_replica),
                _microseconds(2 * one.costs.log),
                f"{one.costs.wait * _MILLISECONDS:.1f} ms",
                f"{one.efficiency:.0%}",
            )
            for one in model.calibrations
        ),
    )


def _microseconds(seconds: float) -> str:
    return f"{seconds * _MICROSECONDS:.1f} us" if seconds else "-"


def _predictions(model: Answers) -> Iterator[str]:
    return table(
        ("nodes", "queues", "brokers", "in/out queues", "prefetch", "measured", "model", "error"),
        (
            (
                str(one.layout.nodes),
                one.layout.queue_type,
                str(one.layout.brokers),
                f"{one.layout.shards} / {one.layout.shards}",
                f"{one.layout.prefetch:,}",
                f"{one.measured:,.0f}",
                f"{one.modelled:,.0f}",
                f"{one.error:+.0%}{' (calibrated)' if one.is_calibrated else ''}",
            )
            for one in model.predictions
        ),
    )


def _accuracy(model: Answers) -> str:
    errors = [abs(one.error) for one in model.predictions if not one.is_calibrated]
    if not errors:
        return "Too little was measured to say how far the model is off."
    return (
        f"In messages/s. Where the model was not calibrated it is off by {median(errors):.0%} "
        f"in the median of {len(errors)} layouts, and by {max(errors):.0%} at worst."
    )


def _parts(model: Answers) -> Iterator[str]:
    return table(
        (
            *("nodes", "queues", "a broker, one core", "an input queue", "an output queue"),
            *("a core of a node", "the log of a node"),
        ),
        (
            (str(one.nodes), one.queue_type, *(_rate(cost) for cost in _part_costs(one)))
            for one in model.calibrations
        ),
    )


def _part_costs(one: Calibration) -> Sequence[float]:
    """Return seconds per message of each part, with publishers and a server that take part."""
    system = System(one.queue_type, one.nodes, 1, brokers=1, live=True)
    costs = one.effective
    return (costs.broker, *queue_cost(system, costs), node_cost(system, costs), 4 * costs.log)


def _rate(cost: float) -> str:
    return f"{1 / cost:,.0f}/s" if cost else "-"


def _capacities(model: Answers) -> Iterator[str]:
    return table(
        (
            *("nodes", "cores each", "in/out queues", "brokers", "messages/s", "bound"),
            *("nodes busy", "brokers busy"),
        ),
        (
            _capacity_row(one)
            for pair in zip(model.one_queue, model.saturated, strict=True)
            for one in pair
        ),
    )


def _capacity_row(one: Capacity) -> Sequence[str]:
    return (
        str(one.system.nodes),
        str(one.system.cores),
        f"{one.system.inputs} / {one.system.outputs}",
        str(one.system.brokers),
        f"{one.outcome.rate:,.0f}",
        f"{one.bound:,.0f}",
        f"{one.outcome.node_busy:.0%}",
        f"{one.outcome.broker_busy:.0%}",
    )


def _sizes(model: Answers) -> Iterator[str]:
    return table(
        (
            *("messages/s", "clusters", "nodes in each", "cores of a node", "brokers in each"),
            *("in/out queues in each", "a cluster at its limit"),
        ),
        (
            (
                f"{wanted.rate:,.0f}",
                str(wanted.clusters),
                str(wanted.system.nodes),
                str(wanted.system.cores),
                str(wanted.system.brokers),
                f"{wanted.system.inputs} / {wanted.system.outputs}",
                f"{limit.outcome.rate:,.0f}/s",
            )
            for wanted, limit in model.sizes
        ),
    )


def _registry(registry: Registry) -> Iterator[str]:
    return table(
        (
            *("agents", "brokers", "memory of a broker", "a full update", "the same to all"),
            *("changes to all", "CPU of a broker for them"),
        ),
        (
            (
                f"{agents:,}",
                str(brokers),
                f"{agents * registry.bytes_per_agent / _MB:,.1f} MB",
                f"{agents * registry.frame_bytes / _MB:,.1f} MB",
                f"{agents * registry.frame_bytes * brokers / _MB:,.1f} MB",
                f"{agents / _CHANGES_EVERY * registry.delta_bytes * brokers / _MB:,.3f} MB/s",
                f"{agents / _CHANGES_EVERY * registry.delta_microseconds / 1e6:.2%}",
            )
            for agents in _AGENTS
            for brokers in _REPLICAS
        ),
    )
