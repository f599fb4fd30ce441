"""What the policies are meant to reach, and whether they did."""

from collections.abc import Iterator
from statistics import median

from tests.bench.policies.plan import EVEN, MUTE, ONE, SEVERAL
from tests.bench.policies.results import Cost, PolicyResults, Simulated, typical
from tests.bench.targets import Target, at_least, at_most

_WEIGHED = 100_000


def targets(results: PolicyResults) -> list[Target]:
    return [*_answer_times(results.runs), *_agents(results.runs), *_costs(results.costs)]


def _answer_times(runs: list[Simulated]) -> Iterator[Target]:
    ours = _p99(runs, "least_outstanding", ONE)
    for name, policy, brokers, limit in (
        ("random's", "random", ONE, 0.2),
        ("that of who knows everything about the same two", "oracle_of_two", ONE, 1.5),
    ):
        theirs = _p99(runs, policy, brokers)
        if ours and theirs:
            yield at_most(f"p99 beside {name}", _ratio(ours, theirs), limit, "x")
    several = _p99(runs, "least_outstanding", SEVERAL)
    if ours and several:
        yield at_most("p99 with 3 brokers beside 1", _ratio(several, ours), 1.3, "x")


def _p99(runs: list[Simulated], policy: str, brokers: int) -> list[float]:
    wanted = (EVEN, policy, brokers)
    return [run.p99 for run in runs if (run.scenario, run.policy, run.brokers) == wanted]


def _ratio(some: list[float], others: list[float]) -> float:
    """Return the median ratio of those with the same seed."""
    return median(one / other for one, other in zip(some, others, strict=True))


def _agents(runs: list[Simulated]) -> Iterator[Target]:
    for brokers in (ONE, SEVERAL):
        run = typical(runs, EVEN, "least_outstanding", brokers)
        if run is not None:
            name = f"messages for an agent that hangs, {brokers} broker{'s' * (brokers > 1)}"
            yield at_most(name, run.hung_share * 100, 1, "%")
    run = typical(runs, MUTE, "least_outstanding", ONE)
    if run is not None:
        fair = 1 / len(run.shares)
        name = "messages for an agent that never answers, beside a fair share"
        yield at_least(name, run.mute_share / fair, 0.5)


def _costs(costs: list[Cost]) -> Iterator[Target]:
    for cost in costs:
        name = f"{cost.policy}, {cost.agents:,} agents"
        yield at_most(name, cost.microseconds, 5, "us")
        yield at_most(f"{name}, one capability", cost.capable_microseconds, 5, "us")
        if cost.agents == _WEIGHED:
            yield at_most(f"{name}, longest slice", cost.longest_slice_milliseconds, 50, "ms")
