"""What so many messages a second take, from what one message costs three nodes with quorum queues.

In operation agents publish each message and the server takes it, which costs RabbitMQ the same
again as the broker does: hence the factors of two.
"""

# ruff: noqa: RUF001 - signs of multiplication

from collections.abc import Iterator
from math import ceil
from statistics import median

from tests.bench.markdown import table
from tests.bench.scale.costs import Costs, costs_of
from tests.bench.scale.plan import CLUSTER, SMALL_WINDOW, base
from tests.bench.scale.results import Layout, Registry, ScaleResults, Traffic, sound_runs

_LOAD = 0.6
"""The rest is for bursts and failures."""
_LARGEST_CLUSTER = 9
"""Nodes. Each is connected to each other one."""
_RATES = (10**4, 10**6, 10**7)
_EXPONENTS = {10**4: "10⁴", 10**6: "10⁶", 10**7: "10⁷"}
_CHANGES_EVERY = 600
_PREFETCH = 1_000


def markdown(results: ScaleResults) -> str:
    return "\n".join(_lines(results)) + "\n"


def _lines(results: ScaleResults) -> Iterator[str]:
    layout = base(CLUSTER, "quorum")
    runs = sound_runs(results)
    costs = costs_of(runs[layout])
    [traffic] = [one for one in results.traffic if one.layout == layout]
    yield ""
    yield from table(
        ("for λ messages/s", "time or bytes per message", "one can do", "at 60 %", "needed"),
        _needs(costs, traffic),
    )
    yield ""
    yield (
        "Plan for 60 % load; the rest is for bursts and failures. At least two brokers and three "
        "nodes, so that one may fail. More than nine nodes make several clusters: every node of a "
        "cluster is connected to every other one."
    )
    yield ""
    yield from table(("messages/s", *_EXPONENTS.values()), _sites(costs, traffic))
    if results.registry is not None:
        yield from ("", _agents(results.registry))
    small = runs.get(Layout(CLUSTER, "quorum", brokers=1, prefetch=SMALL_WINDOW))
    if small:
        rate = median(run.rate for run in small)
        trip = SMALL_WINDOW / rate
        yield ""
        yield (
            f"**The window** limits a broker to `BROKER_PREFETCH` ÷ round trip. With a window of "
            f"{SMALL_WINDOW}, one broker made {rate:,.0f} messages/s on the cluster: "
            f"{trip * 1e3:.1f} ms per round trip, or {_PREFETCH / trip:,.0f} messages/s with the "
            f"default of {_PREFETCH:,}."
        )


def _needs(costs: Costs, traffic: Traffic) -> Iterator[tuple[str, ...]]:
    queue = costs.take + costs.put
    yield _need("a broker, one core", f"{costs.broker:.1f}", costs.broker, "brokers: λ")
    yield _need(
        "an input or output queue, one process",
        f"{costs.take:.1f} + {costs.put:.1f} = {queue:.1f}",
        queue,
        "of each kind: λ",
    )
    yield _need(
        "all nodes",
        f"2 × ({costs.connection:.1f} + {costs.take:.1f} + {costs.put:.1f} + 2 × "
        f"{costs.replica:.1f} + 3 × {costs.log:.1f}) = {_nodes(costs):.0f}",
        _nodes(costs),
        "cores: λ",
        " per core",
    )
    log = 2 * costs.log
    yield (
        "the log of a node, one process",
        f"2 × {costs.log:.1f} = {log:.1f} us, in three nodes",
        f"{_three(1e6 / log)}/s",
        f"{_three(_LOAD * 1e6 / log)}/s",
        f"nodes: λ × 3 × {log:.1f} us ÷ {_LOAD}",
    )
    size = _network(traffic)
    said = f"2 × ({traffic.brokers:,.0f} + {traffic.nodes:,.0f}) = {size:,.0f} B"
    yield ("network, all links", said, "", "", f"λ × {size:,.0f} B")


def _need(name: str, said: str, cost: float, needed: str, per: str = "") -> tuple[str, ...]:
    return (
        name,
        f"{said} us",
        f"{_three(1e6 / cost)}/s{per}",
        f"{_three(_LOAD * 1e6 / cost)}/s{per}",
        f"{needed} × {cost:.1f} us ÷ {_LOAD}",
    )


def _sites(costs: Costs, traffic: Traffic) -> Iterator[tuple[str, ...]]:
    clusters, nodes, rates = [], [], []
    for rate in _RATES:
        needed = rate * 3 * 2 * costs.log / _LOAD / 1e6
        clusters.append(ceil(needed / _LARGEST_CLUSTER))
        nodes.append(CLUSTER if needed <= CLUSTER else min(_LARGEST_CLUSTER, ceil(needed) | 1))
        rates.append(rate / clusters[-1])
    yield (
        "nodes",
        *(
            f"{count} clusters of {size}" if count > 1 else str(size)
            for count, size in zip(clusters, nodes, strict=True)
        ),
    )
    yield ("messages/s of a cluster", *(f"{_three(rate)}" for rate in rates))
    cores = [_cores(_nodes(costs), rate) for rate in rates]
    yield (
        "cores of its nodes",
        *(
            f"{needed:.1f} → {size} × {max(2, ceil(needed / size))}"
            for needed, size in zip(cores, nodes, strict=True)
        ),
    )
    brokers = [_cores(costs.broker, rate) for rate in rates]
    yield ("its brokers", *(f"{one:.1f} → {max(2, ceil(one))}" for one in brokers))
    queues = [_cores(costs.take + costs.put, rate) for rate in rates]
    yield ("its queues of each kind", *(f"{one:.1f} → {ceil(one)}" for one in queues))
    yield ("its network", *(f"{rate * _network(traffic) / 1e6:.0f} MB/s" for rate in rates))
    yield (
        "brokers of all clusters",
        *(f"{count * max(2, ceil(one)):,}" for count, one in zip(clusters, brokers, strict=True)),
    )


def _agents(registry: Registry) -> str:
    million = 1_000_000
    changes = million / _CHANGES_EVERY
    return (
        f"**Agents** cost each broker {registry.bytes_per_agent:.0f} B of memory, "
        f"{registry.frame_bytes:.0f} B of a full update, and per change of one agent "
        f"{registry.delta_bytes} B and {registry.delta_microseconds:.1f} us of its core. One "
        f"million agents, each changing every ten minutes, are {changes:,.0f} changes/s: "
        f"{registry.bytes_per_agent:.0f} MB, a full update of {registry.frame_bytes:.0f} MB, "
        f"{changes * registry.delta_microseconds / 1e6:.1%} of a core, and from the server "
        f"{changes * registry.delta_bytes / 1e6:.1f} MB/s to each broker. Raise "
        "`BROKER_MAX_AGENTS` and `BROKER_WEBSOCKET_MAX_BYTES` accordingly."
    )


def _nodes(costs: Costs) -> float:
    return 2 * (
        costs.connection
        + costs.take
        + costs.put
        + (CLUSTER - 1) * costs.replica
        + CLUSTER * costs.log
    )


def _network(traffic: Traffic) -> float:
    return 2 * (traffic.brokers + traffic.nodes)


def _cores(microseconds: float, rate: float) -> float:
    return rate * microseconds / _LOAD / 1e6


def _three(number: float) -> str:
    """Return a number with three digits that count."""
    places = max(0, len(str(int(number))) - 3)
    return f"{round(number, -places):,.0f}"
