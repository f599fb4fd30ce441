"""What was measured, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from statistics import median

from tests.bench.markdown import section, side_by_side, table
from tests.bench.scale.costs import costs_of
from tests.bench.scale.plan import base
from tests.bench.scale.results import (
    Layout,
    QueueType,
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


def markdown(measured: Mapping[str, ScaleResults]) -> str:
    """Return tables with everything measured.

    Args:
        measured: By version of RabbitMQ.
    """
    return "\n".join(_lines(measured)) + "\n"


def _lines(measured: Mapping[str, ScaleResults]) -> Iterator[str]:
    yield from section("Measured", _measured(measured))
    yield ""
    yield (
        "300-byte messages; median of the runs and, in brackets, the slowest and the fastest, then "
        "the CPU time per message of brokers + RabbitMQ. All brokers and nodes share "
        f"{max(results.cores for results in measured.values())} cores: CPU per message carries "
        "over to other machines, the rate does not."
    )
    yield from section("What a message costs", _costs(measured))
    yield ""
    yield (
        "Processor time per message. That of the nodes is divided as Erlang counts the work of "
        "their processes. *take* is a delivery and its acknowledgement, *put* a publishing, a "
        "replica is what each other member of a quorum queue does for both, and *log* what each "
        "member writes for both. *network* counts the bytes per message between brokers and nodes, "
        "both ways, and between nodes."
    )
    # It does not depend on RabbitMQ, so that of the newest version stands for all.
    registries = [one.registry for one in measured.values() if one.registry is not None]
    if registries:
        yield from section("What agents take", _registry(registries[-1]))
        yield ""
        yield (
            f"Of each broker. Measured with {registries[-1].agents:,} agents; each changes its "
            f"status every {_CHANGES_EVERY // 60} minutes."
        )
    for version, results in measured.items():
        wrong = [run for run in results.runs if run.problems]
        yield from ("", f"RabbitMQ {version}: wrong runs: {len(wrong)} of {len(results.runs)}.")
        for run in wrong:
            yield from ("", f"A run with {title(run.layout)} was wrong: {'; '.join(run.problems)}.")
        machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
        yield from ("", f"Machine: {machine}.")


def _measured(measured: Mapping[str, ScaleResults]) -> Iterator[str]:
    """Yield a table with a column for each kind of cluster and queue."""
    runs = {version: sound_runs(results) for version, results in measured.items()}
    sites = list(
        dict.fromkeys(
            (layout.nodes, layout.queue_type) for mine in runs.values() for layout in mine
        )
    )
    return side_by_side(
        (
            *("brokers", "in/out queues", "prefetch"),
            *(f"{queue_type}, {nodes} node{'s' * (nodes > 1)}" for nodes, queue_type in sites),
        ),
        3,
        {version: list(_measured_rows(mine, sites)) for version, mine in runs.items()},
    )


def _measured_rows(
    runs: Mapping[Layout, list[ScaleRun]], sites: Sequence[tuple[int, QueueType]]
) -> Iterator[Sequence[str]]:
    for brokers, shards, prefetch in sorted(
        {(layout.brokers, layout.shards, layout.prefetch) for layout in runs}
    ):
        layouts = (Layout(*site, brokers, shards, prefetch) for site in sites)
        cells = (_measured_cell(runs.get(layout)) for layout in layouts)
        yield (str(brokers), f"{shards} / {shards}", f"{prefetch:,}", *cells)


def _measured_cell(runs: list[ScaleRun] | None) -> str:
    if runs is None:
        return "-"
    rates = sorted(run.rate for run in runs)
    brokers = median(run.broker_microseconds for run in runs)
    nodes = median(run.node_microseconds for run in runs)
    spread = f"{rates[0]:,.0f} ... {rates[-1]:,.0f}"
    return f"{median(rates):,.0f}/s ({spread}), {brokers:.0f} + {nodes:.0f} us"


def _costs(measured: Mapping[str, ScaleResults]) -> Iterator[str]:
    return side_by_side(
        (
            *("nodes", "queues", "broker", "its connection", "input queue: take"),
            *("output queue: put", "each replica", "log, each member"),
            *("network: brokers", "network: nodes"),
        ),
        2,
        {
            version: [
                (
                    str(layout.nodes),
                    layout.queue_type,
                    *map(_microseconds, astuple(costs_of(runs))),
                    *_traffic(layout, results.traffic),
                )
                for layout, runs in sound_runs(results).items()
                if layout == base(layout.nodes, layout.queue_type)
            ]
            for version, results in measured.items()
        },
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
