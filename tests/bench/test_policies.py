"""A small version of the simulation: targets hold, and what is simulated is what is said."""

from statistics import median

import pytest

from tests.bench.policies.plan import EVEN, MUTE
from tests.bench.policies.report import markdown
from tests.bench.policies.results import Cost, PolicyResults
from tests.bench.policies.simulation import Scenario, simulate
from tests.bench.policies.targets import targets
from tests.bench.policies.workers import (
    FASTEST,
    SLOWEST,
    Outage,
    Spread,
    Worker,
    crowd,
    speeds_evenly_spread,
    times_log_uniform,
)

SMALL = Scenario(EVEN, speeds_evenly_spread, agents=40, seconds=200.0)
SMALL_MUTE = Scenario(MUTE, speeds_evenly_spread, agents=40, seconds=200.0, has_mute=True)


@pytest.fixture(scope="module")
def small() -> PolicyResults:
    kinds = [
        ("random", 1),
        ("least_outstanding", 1),
        ("least_outstanding", 3),
        ("oracle_of_two", 1),
    ]
    runs = [simulate(SMALL, *kind, seed) for kind in kinds for seed in (1, 2, 3)]
    runs.append(simulate(SMALL_MUTE, "least_outstanding"))
    return PolicyResults({"date": "today"}, runs)


@pytest.mark.exhaustive
def test_the_targets_hold(small: PolicyResults) -> None:
    judged = targets(small)
    assert len(judged) == 6
    assert [target for target in judged if not target.met] == []


@pytest.mark.exhaustive
def test_they_are_reported(small: PolicyResults) -> None:
    small.costs = [Cost("random", 100_000, 6.0, 1.0, 80.0, 1.0, 0.0)]
    text = markdown(small)
    assert "| `least_outstanding` | 3 | " in text
    assert "| random, 100,000 agents | <= 5 us | 6 us | **missed** |" in text


def test_the_same_seed_gives_the_same_figures() -> None:
    scenario = Scenario(EVEN, speeds_evenly_spread, agents=10, seconds=60.0)
    first, again, other = (simulate(scenario, "least_outstanding", 2, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert simulate(scenario, "random", 1, 1).messages == first.messages


def test_conversations_are_routed_alike_by_three_brokers() -> None:
    scenario = Scenario(EVEN, speeds_evenly_spread, agents=10, seconds=60.0)
    one, three = (simulate(scenario, "consistent_hash", brokers) for brokers in (1, 3))
    assert one.shares == three.shares


@pytest.mark.parametrize("spread", [speeds_evenly_spread, times_log_uniform])
def test_answer_times_differ_a_hundredfold(spread: Spread) -> None:
    workers = crowd(100, spread)
    assert workers[0].seconds == pytest.approx(FASTEST)
    assert workers[-1].seconds == pytest.approx(SLOWEST)
    times = [worker.seconds for worker in workers]
    assert times == sorted(times)
    assert median(times) < 2.1


@pytest.mark.parametrize(
    ("now", "effort", "free_at", "answered_at"),
    [
        (0.0, 1.0, 0.0, 2.0),
        (0.0, 1.0, 5.0, 7.0),
        (8.0, 1.0, 0.0, 10.0),  # just before the outage
        (8.0, 2.0, 0.0, 22.0),  # interrupted
        (15.0, 1.0, 0.0, 22.0),  # comes meanwhile
        (20.0, 1.0, 0.0, 22.0),
    ],
)
def test_an_agent_that_hangs_goes_on_afterwards(
    now: float, effort: float, free_at: float, answered_at: float
) -> None:
    worker = Worker("a", 2.0, Outage(10.0, 20.0), free_at=free_at)
    assert worker.answers_at(now, effort) == answered_at
