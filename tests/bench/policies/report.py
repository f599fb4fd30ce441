"""The results as Markdown."""

from collections.abc import Iterator

from tests.bench.markdown import section, table
from tests.bench.policies.plan import EVEN, LOG_UNIFORM, MUTE
from tests.bench.policies.results import Cost, PolicyResults, Simulated, typical
from tests.bench.policies.targets import targets
from tests.bench.report import target_table

_TITLES = {
    "random": "`random`",
    "consistent_hash": "`consistent_hash`",
    "least_outstanding": "`least_outstanding`",
    "oracle_of_two": "oracle of two",
    "oracle_of_all": "oracle of all",
}


def markdown(results: PolicyResults) -> str:
    return "\n".join(_lines(results)) + "\n"


def _lines(results: PolicyResults) -> Iterator[str]:
    for scenario in (EVEN, LOG_UNIFORM, MUTE):
        rows = list(_rows(results.runs, scenario))
        if rows:
            yield from section(f"Answer times: {scenario}", _answer_times(rows))
    if results.costs:
        yield from section("What a decision costs", _costs(results.costs))
    yield from section("Targets", target_table(targets(results)))
    yield from ("", f"Machine: {', '.join(f'{k} {v}' for k, v in results.machine.items())}.")


def _rows(runs: list[Simulated], scenario: str) -> Iterator[Simulated]:
    kinds = dict.fromkeys((run.policy, run.brokers) for run in runs if run.scenario == scenario)
    for policy, brokers in kinds:
        run = typical(runs, scenario, policy, brokers)
        if run is not None:
            yield run


def _answer_times(rows: list[Simulated]) -> Iterator[str]:
    tenth = len(rows[0].shares) // 10
    return table(
        (
            *("policy", "brokers", "p50", "p99"),
            *("fastest tenth", "middle", "slowest tenth", "hanging agent"),
        ),
        (
            (
                _TITLES[run.policy],
                str(run.brokers),
                f"{run.p50:.2f} s",
                f"{run.p99:,.1f} s",
                # Without the two that are absent for a while.
                f"{sum(run.shares[2 : 2 + tenth]):.1%}",
                f"{sum(run.shares[5 * tenth - tenth // 2 : 6 * tenth - tenth // 2]):.1%}",
                f"{sum(run.shares[-tenth:]):.2%}",
                f"{run.hung_share:.2%}",
            )
            for run in rows
        ),
    )


def _costs(costs: list[Cost]) -> Iterator[str]:
    return table(
        (
            *("policy", "agents", "decision", "with a capability"),
            *("all agents come", "longest slice", "memory an agent"),
        ),
        (
            (
                _TITLES[cost.policy],
                f"{cost.agents:,}",
                f"{cost.microseconds:.2f} us",
                f"{cost.capable_microseconds:.2f} us",
                f"{cost.full_update_milliseconds:,.1f} ms",
                f"{cost.longest_slice_milliseconds:.1f} ms",
                "" if cost.bytes_per_agent is None else f"{cost.bytes_per_agent:.0f} B",
            )
            for cost in costs
        ),
    )
