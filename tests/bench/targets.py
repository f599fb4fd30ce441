"""What the broker is meant to reach, and whether it did."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from tests.bench.environment import (
    AIO_PIKA,
    BROKER,
    FASTSTREAM,
    ONE_LOOP,
    RABBITMQ_C,
    RECONNECTING,
)
from tests.bench.results import (
    Blocked,
    Growth,
    HoldUp,
    Latency,
    Results,
    Run,
    checked,
    median_rate,
    sound,
)

_MIB = 2**20


@dataclass(frozen=True)
class Target:
    name: str
    wanted: str
    figure: str
    met: bool


def targets(results: Results) -> list[Target]:
    return [
        *_throughput(results),
        *_window(results),
        *_latency(results.latency),
        *_growth(results.growth),
        *_hold_up(results.hold_up),
        *(
            at_most("memory growth while RabbitMQ takes nothing", _growth_mib(one), 4, "MiB")
            for one in results.blocked
        ),
        *_correctness(results),
    ]


def _growth_mib(blocked: Blocked) -> float:
    return (blocked.peak_bytes - blocked.before_bytes) / _MIB


def at_least(name: str, figure: float, limit: float) -> Target:
    return Target(name, f">= {limit:g} x", f"{figure:.2f} x", figure >= limit)


def at_most(name: str, figure: float, limit: float, unit: str) -> Target:
    return Target(name, f"<= {limit:.3g} {unit}", f"{figure:.3g} {unit}", figure <= limit)


def _throughput(results: Results) -> Iterator[Target]:
    runs = results.throughput
    ours = median_rate(runs, contender=BROKER.name)
    is_old = results.machine.get("rabbitmq", "").startswith("3.")
    for contender, limit in (
        (AIO_PIKA, 7),
        (RABBITMQ_C, 0.85 if is_old else 0.8),
        (FASTSTREAM, 5),
        (RECONNECTING, 40),
        (ONE_LOOP, 0.85),
    ):
        theirs = median_rate(runs, contender=contender.name)
        if ours and theirs:
            yield at_least(f"throughput beside {contender.name}", ours / theirs, limit)
    cpu = [
        _median(runs, contender.name, lambda run: run.cpu_microseconds)
        for contender in (BROKER, AIO_PIKA)
    ]
    memory = [
        _median(runs, contender.name, lambda run: run.peak_bytes / _MIB)
        for contender in (BROKER, AIO_PIKA)
    ]
    if cpu[0]:
        yield at_most("CPU per message", cpu[0], 22, "us")
    if cpu[0] and cpu[1]:
        yield at_most("CPU per message beside aio-pika", cpu[0] / cpu[1], 1 / 3, "x")
    if memory[0] and memory[1]:
        yield at_most("peak memory beside aio-pika", memory[0] / memory[1], 2.0, "x")


def _median(runs: list[Run], contender: str, figure: Callable[[Run], float]) -> float | None:
    figures = [figure(run) for run in sound(runs, contender=contender)]
    return median(figures) if figures else None


def _window(results: Results) -> Iterator[Target]:
    ours = median_rate(results.window, prefetch=8_000)
    theirs = median_rate(results.throughput, contender=AIO_PIKA.name)
    if ours and theirs:
        yield at_least("throughput beside aio-pika, prefetch 8,000", ours / theirs, 5.5)


def _latency(points: list[Latency]) -> Iterator[Target]:
    for _, load in sorted({(p.rate, p.load) for p in points if p.contender == AIO_PIKA.name}):
        # Of each round, in which one came right after the other: the machine's mood lasts longer.
        pairs = [
            (ours, theirs)
            for ours, theirs in zip(
                (p for p in points if (p.contender, p.load) == (BROKER.name, load)),
                (p for p in points if (p.contender, p.load) == (AIO_PIKA.name, load)),
                strict=True,
            )
            if not ours.problems and not theirs.problems
        ]
        if pairs:
            p50 = median(ours.p50 / theirs.p50 for ours, theirs in pairs)
            p99 = median(ours.p99 / theirs.p99 for ours, theirs in pairs)
            yield at_most(f"latency p50 beside aio-pika, {load}", p50, 1, "x")
            yield at_most(f"latency p99 beside aio-pika, {load}", p99, 1, "x")


def _hold_up(measured: list[HoldUp]) -> Iterator[Target]:
    if measured:
        name = f"during a full update of {measured[0].agents:,}"
        behind = median(one.pong_behind - one.pong_behind_ignored for one in measured)
        yield at_most(f"a message {name}", median(one.message for one in measured), 50, "ms")
        yield at_most(f"a PONG {name}", median(one.pong_after for one in measured), 50, "ms")
        yield at_most("a PONG right behind it, beside bytes ignored", behind, 50, "ms")


def _growth(measured: list[Growth]) -> Iterator[Target]:
    for point in measured:
        name = f"{point.agents:,} agents"
        yield at_most(f"a routing decision, {name}", point.route_microseconds, 2, "us")
        if point.agents == 100_000:
            more = point.capable_bytes_per_agent - point.bytes_per_agent
            yield at_most(f"registry memory an agent, {name}", point.bytes_per_agent, 300, "B")
            yield at_most(f"more with three capabilities, {name}", more, 150, "B")
    if len(measured) > 1:
        spread = measured[-1].delta_microseconds / measured[0].delta_microseconds
        yield at_most(
            f"a delta among {measured[-1].agents:,} beside {measured[0].agents:,}", spread, 3, "x"
        )


def _correctness(results: Results) -> Iterator[Target]:
    runs = checked(results)
    if runs:
        wrong = sum(bool(run.problems) for run in runs)
        yield Target("wrong runs", "0", f"{wrong} of {len(runs)}", wrong == 0)
