"""The results as Markdown, for the terminal and for documents."""

from collections.abc import Iterator, Sequence
from statistics import median

from tests.bench.environment import CONTENDERS
from tests.bench.markdown import section, table
from tests.bench.results import PERCENTILES, HoldUp, Latency, Results, Run, checked, sound, typical
from tests.bench.targets import Target, targets

_MIB = 2**20


def markdown(results: Results) -> str:
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    if results.throughput:
        yield from section("Throughput", _throughput(results.throughput))
        yield ""
        yield (
            "300-byte messages; median of the runs and, in brackets, the slowest and the fastest. "
            "Slow contenders get fewer messages. Memory is the process's peak."
        )
        for contender, reason in results.missing.items():
            yield ""
            yield f"{contender} was not measured: {reason}."
    if results.latency:
        yield from section("Latency", _latency(results))
    if results.window:
        yield from section("Prefetch", _window(results))
    if results.sizes:
        yield from section("Message size", _sizes(results))
    if results.growth:
        yield from section("Number of agents", _growth(results))
    if results.hold_up:
        yield from ("", _hold_up(results.hold_up))
    for blocked in results.blocked:
        yield ""
        yield (
            f"While RabbitMQ took nothing for {blocked.seconds:g} s because of a memory alarm, "
            f"with {blocked.messages - blocked.routed:,} messages waiting, the broker's memory "
            f"went from {blocked.before_bytes / _MIB:.1f} to {blocked.peak_bytes / _MIB:.1f} MiB "
            f"at most; it routed again {blocked.resumed_after:.1f} s after the alarm."
        )
    yield from section("Targets", target_table(targets(results)))
    yield from _problems(results)
    yield from section("Machine", table(("", ""), results.machine.items()))


def _throughput(runs: list[Run]) -> Iterator[str]:
    first = [run.rate for run in sound(runs, contender=CONTENDERS[0].name)]
    return table(
        ("", "messages/s", "broker is", "CPU/message", "memory", "messages", "runs"),
        (
            (contender.title, *_throughput_row(mine, first), f"{len(mine)} of {len(all_mine)}")
            for contender in CONTENDERS
            if (all_mine := [run for run in runs if run.contender == contender.name])
            for mine in [sound(all_mine)]
        ),
    )


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


def _window(results: Results) -> Iterator[str]:
    return table(
        ("prefetch", "messages/s", "CPU/message", "memory"),
        (
            (
                f"{prefetch:,}",
                _rates(runs),
                f"{median(run.cpu_microseconds for run in runs):.0f} us" if runs else "",
                f"{median(run.peak_bytes for run in runs) / _MIB:.0f} MiB" if runs else "",
            )
            for prefetch in dict.fromkeys(run.prefetch for run in results.window)
            for runs in [sound(results.window, prefetch=prefetch)]
        ),
    )


def _sizes(results: Results) -> Iterator[str]:
    return table(
        ("bytes", "contender", "messages/s", "MiB/s", "messages"),
        (
            (
                f"{run.size:,}",
                run.contender,
                f"{run.rate:,.0f}" if not run.problems else "failed",
                f"{run.rate * run.size / _MIB:.1f}" if not run.problems else "",
                f"{run.messages:,}",
            )
            for run in results.sizes
        ),
    )


def _latency(results: Results) -> Iterator[str]:
    return table(
        ("load", "messages/s", "contender", "p50", "p99", "p99.9", "worst"),
        (
            (
                point.load,
                f"{point.rate:,.0f}",
                point.contender,
                *(f"{getattr(point, name):.2f} ms" for name in PERCENTILES),
            )
            for point in sorted(typical(results.latency), key=lambda point: point.rate)
        ),
    )


def _growth(results: Results) -> Iterator[str]:
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
            for point in results.growth
        ),
    )


def _hold_up(measured: list[HoldUp]) -> str:
    slowest = [one.message for one in measured]
    return (
        f"While a full update of {measured[0].agents:,} agents came and was applied, the slowest "
        f"message took {median(slowest):.0f} ms ({min(slowest):.0f} ... {max(slowest):.0f} ms in "
        f"{len(measured)} tries; without it {median(one.quiet for one in measured):.0f} ms), and "
        f"the slowest PING was answered after {median(one.pong_after for one in measured):.0f} ms. "
        "A PING that stands right behind the update is answered after "
        f"{median(one.pong_behind for one in measured):.0f} ms, the transfer included; behind as "
        "many bytes that mean nothing to the broker, after "
        f"{median(one.pong_behind_ignored for one in measured):.0f} ms."
    )


def target_table(judged: list[Target]) -> Iterator[str]:
    return table(
        ("", "wanted", "measured", ""),
        (
            (target.name, target.wanted, target.figure, "met" if target.met else "**missed**")
            for target in judged
        ),
    )


def _problems(results: Results) -> Iterator[str]:
    for run in checked(results):
        if run.problems:
            contender = run.contender if isinstance(run, Run | Latency) else "the broker"
            yield ""
            yield f"A run of {contender} was wrong: {'; '.join(run.problems)}."
