"""All simulations on all cores, then what decisions cost, alone."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import msgspec
import structlog
from rich.progress import Progress

from tests.bench.environment import ROOT
from tests.bench.machine import hardware
from tests.bench.policies.plan import AGENTS, SEEDS, Job, jobs
from tests.bench.policies.results import Cost, PolicyResults, Simulated
from tests.bench.policies.simulation import simulate


class Extent(NamedTuple):
    """How much is simulated and measured."""

    seconds: float = 600.0
    seeds: tuple[int, ...] = SEEDS
    agents: tuple[int, ...] = AGENTS


FULL = Extent()
QUICK = Extent(300.0, SEEDS[:1], AGENTS[:3])


def measure_policies(extent: Extent, progress: Progress) -> PolicyResults:
    results = PolicyResults(hardware())
    steps = jobs(extent.seconds, extent.seeds)
    task = progress.add_task("simulations", total=len(steps))
    with ProcessPoolExecutor(os.cpu_count(), initializer=_be_quiet) as processes:
        for run in processes.map(_simulate, steps):
            results.runs.append(run)
            progress.advance(task)
    task = progress.add_task("decisions", total=len(extent.agents))
    for agents in extent.agents:
        completed = subprocess.run(
            [sys.executable, "-m", "tests.bench.policies.costs", str(agents)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            check=True,
        )
        # Its log precedes the figures.
        figures = completed.stdout.splitlines()[-1]
        results.costs += msgspec.json.decode(figures, type=list[Cost])
        progress.advance(task)
    return results


def _simulate(job: Job) -> Simulated:
    return simulate(*job)


def _be_quiet() -> None:
    # Where two simulations share a core, each may find a policy slow.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
