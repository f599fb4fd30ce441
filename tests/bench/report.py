"""The results as Markdown, for the terminal and for documents."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from tests.bench.environment import CONTENDERS
from tests.bench.markdown import section, side_by_side, table
from tests.bench.results import (
    PERCENTILES,
    Blocked,
    Growth,
    HoldUp,
    Latency,
    Results,
    Run,
    checked,
    sound,
    typical,
)
from tests.bench.targets import Target, targets

_MIB = 2**20
_TARGETS = ("", "wanted", "measured", "")


def markdown(measured: Mapping[str, Results]) -> str:
    """Return tables with everything measured.

    Args:
        measured: By version of RabbitMQ.
    """
    return "\n".join(_lines(measured)) + "\n"


def _lines(measured: Mapping[str, Results]) -> Iterator[str]:
    yield from _throughput(measured)
    yield from _latency(measured)
    yield from _window(measured)
    yield from _sizes(measured)
    yield from _growth(measured)
    for version, results in measured.items():
        if results.hold_up:
            yield from ("", f"On RabbitMQ {version}: {_hold_up(results.hold_up)}")
    for version, results in measured.items():
        for blocked in results.blocked:
            yield from ("", f"On RabbitMQ {version}: {_blocked(blocked)}")
    yield from _targets(measured)
    for version, results in measured.items():
        yield from _problems(version, results)
    yield from section("Machine", _machine(measured))


def _section(
    title: str, head: Sequence[str], keys: int, rows: Mapping[str, Sequence[Sequence[str]]]
) -> Iterator[str]:
    if any(rows.values()):
        yield from section(title, side_by_side(head, keys, rows))


def _throughput(measured: Mapping[str, Results]) -> Iterator[str]:
    head = ("", "messages/s", "broker is", "CPU/message", "memory", "messages", "runs")
    rows = {
        version: list(_throughput_rows(results.throughput)) for version, results in measured.items()
    }
    yield from _section("Throughput", head, 1, rows)
    if any(rows.values()):
        yield ""
        yield (
            "300-byte messages; median of the runs and, in brackets, the slowest and the fastest. "
            "Slow contenders get fewer messages. Memory is the process's peak."
        )
    for version, results in measured.items():
        for contender, reason in results.missing.items():
            yield from ("", f"On RabbitMQ {version}, {contender} was not measured: {reason}.")


def _throughput_rows(runs: list[Run]) -> Iterator[Sequence[str]]:
    first = [run.rate for run in sound(runs, contender=CONTENDERS[0].name)]
    for contender in CONTENDERS:
        all_mine = [run for run in runs if run.contender == contender.name]
        if all_mine:
            mine = sound(all_mine)
            count = f"{len(mine)} of {len(all_mine)}"
            yield (contender.title, *_throughput_row(mine, first), count)


def _throughput_row(runs: list[Run], first: list[float]) -> Sequence[str]:
    if not runs:
        return ("failed", "", "", "", "")
    rate = median(run.rate for run in runs)
    return (
        _rates(runs),
        f"{median(first) / rate:.2f} x" if first else "",
        f"{median(run.cpu_microseconds for run in runs):.0f} us",
        f"{median(run.peak_bytes for run in runs) / _MIB:.0f} MiB",
        f"{runs[0].messages:,}",
    )


def _rates(runs: list[Run]) -> str:
    rates = sorted(run.rate for run in runs)
    return f"{median(rates):,.0f} ({rates[0]:,.0f} ... {rates[-1]:,.0f})" if rates else "failed"


def _window(measured: Mapping[str, Results]) -> Iterator[str]:
    head = ("prefetch", "messages/s", "CPU/message", "memory")
    return _section(
        *("Prefetch", head, 1),
        {
            version: [
                (
                    f"{prefetch:,}",
                    _rates(runs),
                    f"{median(run.cpu_microseconds for run in runs):.0f} us" if runs else "",
                    f"{median(run.peak_bytes for run in runs) / _MIB:.0f} MiB" if runs else "",
                )
                for prefetch in dict.fromkeys(run.prefetch for run in results.window)
                for runs in [sound(results.window, prefetch=prefetch)]
            ]
            for version, results in measured.items()
        },
    )


def _sizes(measured: Mapping[str, Results]) -> Iterator[str]:
    head = ("bytes", "contender", "messages/s", "MiB/s", "messages")
    return _section(
        *("Message size", head, 2),
        {
            version: [
                (
                    f"{run.size:,}",
                    run.contender,
                    f"{run.rate:,.0f}" if not run.problems else "failed",
                    f"{run.rate * run.size / _MIB:.1f}" if not run.problems else "",
                    f"{run.messages:,}",
                )
                for run in results.sizes
            ]
            for version, results in measured.items()
        },
    )


def _latency(measured: Mapping[str, Results]) -> Iterator[str]:
    head = ("load", "contender", "messages/s", "p50", "p99", "p99.9", "worst")
    return _section(
        *("Latency", head, 2),
        {
            version: [
                (
                    point.load,
                    point.contender,
                    f"{point.rate:,.0f}",
                    *(f"{getattr(point, name):.2f} ms" for name in PERCENTILES),
                )
                for point in sorted(typical(results.latency), key=lambda point: point.rate)
            ]
            for version, results in measured.items()
        },
    )


def _growth(measured: Mapping[str, Results]) -> Iterator[str]:
    """Yield a table of the newest version only: the registry does not depend on RabbitMQ."""
    points = [results.growth for results in measured.values() if results.growth]
    if points:
        yield from section("Number of agents", _growth_table(points[-1]))


def _growth_table(points: list[Growth]) -> Iterator[str]:
    return table(
        (
            *("agents", "decision", "delta of 1", "full update"),
            *("longest slice", "decoding it", "memory an agent", "with capabilities"),
        ),
        (
            (
                f"{point.agents:,}",
                f"{point.route_microseconds:.2f} us",
                f"{point.delta_microseconds:.2f} us",
                f"{point.full_update_milliseconds:.1f} ms",
                f"{point.longest_slice_milliseconds:.1f} ms",
                f"{point.decode_milliseconds:.1f} ms",
                f"{point.bytes_per_agent:.0f} B",
                f"{point.capable_bytes_per_agent:.0f} B",
            )
            for point in points
        ),
    )


def _blocked(blocked: Blocked) -> str:
    return (
        f"while it took nothing for {blocked.seconds:g} s because of a memory alarm, "
        f"with {blocked.messages - blocked.routed:,} messages waiting, the broker's memory "
        f"went from {blocked.before_bytes / _MIB:.1f} to {blocked.peak_bytes / _MIB:.1f} MiB "
        f"at most; it routed again {blocked.resumed_after:.1f} s after the alarm."
    )


def _hold_up(measured: list[HoldUp]) -> str:
    slowest = [one.message for one in measured]
    return (
        f"while a full update of {measured[0].agents:,} agents came and was applied, the slowest "
        f"message took {median(slowest):.0f} ms ({min(slowest):.0f} ... {max(slowest):.0f} ms in "
        f"{len(measured)} tries; without it {median(one.quiet for one in measured):.0f} ms), and "
        f"the slowest PING was answered after {median(one.pong_after for one in measured):.0f} ms. "
        "A PING that stands right behind the update is answered after "
        f"{median(one.pong_behind for one in measured):.0f} ms, the transfer included; behind as "
        "many bytes that mean nothing to the broker, after "
        f"{median(one.pong_behind_ignored for one in measured):.0f} ms."
    )


def _targets(measured: Mapping[str, Results]) -> Iterator[str]:
    rows = {
        version: [_target(target) for target in targets(results)]
        for version, results in measured.items()
    }
    return section("Targets", side_by_side(_TARGETS, 1, rows))


def target_table(judged: list[Target]) -> Iterator[str]:
    return table(_TARGETS, map(_target, judged))


def _target(target: Target) -> Sequence[str]:
    return (target.name, target.wanted, target.figure, "met" if target.met else "**missed**")


def _problems(version: str, results: Results) -> Iterator[str]:
    for run in checked(results):
        if run.problems:
            contender = run.contender if isinstance(run, Run | Latency) else "the broker"
            problems = "; ".join(run.problems)
            yield from ("", f"On RabbitMQ {version}, a run of {contender} was wrong: {problems}.")


def _machine(measured: Mapping[str, Results]) -> Iterator[str]:
    names = dict.fromkeys(name for results in measured.values() for name in results.machine)
    return table(
        ("", *(f"RabbitMQ {version}" for version in measured)),
        (
            (name, *(results.machine.get(name, "-") for results in measured.values()))
            for name in names
        ),
    )
