"""Replay seeds: `python -m tests.simulation SEED ...` prints all that happened."""

import sys

from tests.simulation.simulate import simulate

for seed in map(int, sys.argv[1:]):
    trace = simulate(seed)
    print(*trace.lines, sep="\n")  # noqa: T201
    print(f"seed {seed}:", *(trace.violations or ["all promises kept"]), sep="\n  ")  # noqa: T201
