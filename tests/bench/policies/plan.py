"""What is simulated: scenarios, policies, numbers of brokers, seeds."""

from typing import NamedTuple

from tests.bench.policies.simulation import Scenario
from tests.bench.policies.workers import speeds_evenly_spread, times_log_uniform

EVEN = "speeds evenly spread"
LOG_UNIFORM = "answer times log-uniform"
MUTE = "one agent never answers"
ONE, SEVERAL = 1, 3
"""Brokers."""
SEEDS = (1, 2, 3)
AGENTS = (10, 1_000, 100_000, 1_000_000)
"""Among which the cost of a decision is measured."""


class Job(NamedTuple):
    """One run of the simulation."""

    scenario: Scenario
    policy: str
    brokers: int
    seed: int


def jobs(seconds: float, seeds: tuple[int, ...] = SEEDS) -> list[Job]:
    """Return all runs, each of so many simulated seconds."""
    even = Scenario(EVEN, speeds_evenly_spread, seconds=seconds)
    log_uniform = Scenario(LOG_UNIFORM, times_log_uniform, seconds=seconds)
    mute = Scenario(MUTE, speeds_evenly_spread, seconds=seconds, has_mute=True)
    compared = (
        ("random", ONE),
        ("consistent_hash", ONE),
        ("consistent_hash", SEVERAL),
        ("least_outstanding", ONE),
        ("least_outstanding", SEVERAL),
        ("oracle_of_two", ONE),
    )
    return [
        *(Job(even, *one, seed) for one in compared for seed in seeds),
        # For a look: no target depends on them.
        *(Job(log_uniform, *one, seeds[0]) for one in compared),
        *(Job(scenario, "oracle_of_all", ONE, seeds[0]) for scenario in (even, log_uniform)),
        Job(mute, "least_outstanding", ONE, seeds[0]),
    ]
