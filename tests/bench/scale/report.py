"""What was measured, as Markdown."""

from collections.abc import Iterator
from dataclasses import astuple
from statistics import median

from tests.bench.markdown import section, table
from tests.bench.scale.costs import costs_of
from tests.bench.scale.plan import base
from tests.bench.scale.results import (
    Layout,
    Registry,
    ScaleResults,
    ScaleRun,
    Traffic,
    sound_runs,
    title,
)

_MB = 1e6
_AGENTS = (1_000, 100_000, 1_000_000)
_LEAST_SHOWN = 0.05
"""Microseconds."""
_CHANGES_EVERY = 600
"""Seconds from one change of an agent's status to its next, in the table of traffic."""


def markdown(results: ScaleResults) -> str:
    return "\n".join(_lines(results)) + "\n"


def _lines(results: ScaleResults) -> Iterator[str]:
    yield from section("Measured", _measured(results))
    yield ""
    yield (
        "300-byte messages; median of the runs and, in brackets, the slowest and the fastest, then "
        "the CPU time per message of brokers + RabbitMQ. All brokers and nodes share "
        f"{results.cores} cores: CPU per message carries over to other machines, the rate does not."
    )
    yield from section("What a message costs", _costs(results))
    yield ""
    yield (
        "Processor time per message. That of the nodes is divided as Erlang counts the work of "
        "their processes. *take* is a delivery and its acknowledgement, *put* a publishing, a "
        "replica is what each other member of a quorum queue does for both, and *log* what each "
        "member writes for both. *network* counts the bytes per message between brokers and nodes, "
        "both ways, and between nodes."
    )
    if results.registry is not None:
        yield from section("What agents take", _registry(results.registry))
        yield ""
        yield (
            f"Of each broker. Measured with {results.registry.agents:,} agents; each changes its "
            f"status every {_CHANGES_EVERY // 60} minutes."
        )
    wrong = [run for run in results.runs if run.problems]
    yield from ("", f"Wrong runs: {len(wrong)} of {len(results.runs)}.")
    for run in wrong:
        yield from ("", f"A run with {title(run.layout)} was wrong: {'; '.join(run.problems)}.")
    yield ""
    yield f"Machine: {', '.join(f'{name} {value}' for name, value in results.machine.items())}."


def _measured(results: ScaleResults) -> Iterator[str]:
    """Yield a table with a column for each kind of cluster and queue."""
    runs = sound_runs(results)
    sites = list(dict.fromkeys((layout.nodes, layout.queue_type) for layout in runs))
    return table(
        (
            *("brokers", "in/out queues", "prefetch"),
            *(f"{queue_type}, {nodes} node{'s' * (nodes > 1)}" for nodes, queue_type in sites),
        ),
        (
            (
                str(brokers),
                f"{shards} / {shards}",
                f"{prefetch:,}",
                *(
                    _measured_cell(runs.get(Layout(*site, brokers, shards, prefetch)))
                    for site in sites
                ),
            )
            for brokers, shards, prefetch in sorted(
                {(layout.brokers, layout.shards, layout.prefetch) for layout in runs}
            )
        ),
    )


def _measured_cell(runs: list[ScaleRun] | None) -> str:
    if runs is None:
        return "-"
    rates = sorted(run.rate for run in runs)
    brokers = median(run.broker_microseconds for run in runs)
    nodes = median(run.node_microseconds for run in runs)
    spread = f"{rates[0]:,.0f} ... {rates[-1]:,.0f}"
    return f"{median(rates):,.0f}/s ({spread}), {brokers:.0f} + {nodes:.0f} us"


def _costs(results: ScaleResults) -> Iterator[str]:
    return table(
        (
            *("nodes", "queues", "broker", "its connection", "input queue: take"),
            *("output queue: put", "each replica", "log, each member"),
            *("network: brokers", "network: nodes"),
        ),
        (
            (
                str(layout.nodes),
                layout.queue_type,
                *map(_microseconds, astuple(costs_of(runs))),
                *_traffic(layout, results.traffic),
            )
            for layout, runs in sound_runs(results).items()
            if layout == base(layout.nodes, layout.queue_type)
        ),
    )


def _microseconds(cost: float) -> str:
    return f"{cost:.1f} us" if cost >= _LEAST_SHOWN else "-"


def _traffic(layout: Layout, traffic: list[Traffic]) -> tuple[str, str]:
    for one in traffic:
        if one.layout == layout:
            return f"{one.brokers:,.0f} B", f"{one.nodes:,.0f} B" if layout.nodes > 1 else "-"
    return "-", "-"


def _registry(registry: Registry) -> Iterator[str]:
    return table(
        ("agents", "memory", "a full update", "changes", "CPU for them"),
        (
            (
                f"{agents:,}",
                f"{agents * registry.bytes_per_agent / _MB:,.1f} MB",
                f"{agents * registry.frame_bytes / _MB:,.1f} MB",
                f"{agents / _CHANGES_EVERY * registry.delta_bytes / _MB:,.4f} MB/s",
                f"{agents / _CHANGES_EVERY * registry.delta_microseconds / 1e6:.3%}",
            )
            for agents in _AGENTS
        ),
    )
