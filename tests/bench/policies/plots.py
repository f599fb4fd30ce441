"""Draws the plot: `python plots.py results.json DIRECTORY`, with nothing of ours imported."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "broker"  # the same ids for the same picture

import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first
from matplotlib.axes import Axes  # noqa: E402

EVEN = "speeds evenly spread"
KINDS = {
    ("random", 1): "random",
    ("consistent_hash", 1): "consistent_hash",
    ("least_outstanding", 3): "least_outstanding, 3 brokers",
    ("least_outstanding", 1): "least_outstanding",
    ("oracle_of_two", 1): "oracle of two",
    ("oracle_of_all", 1): "oracle of all",
}

type Run = dict[str, Any]


def answer_times(axes: Axes, runs: dict[str, list[Run]]) -> None:
    names = list(runs)
    for place, name in enumerate(reversed(names)):
        p50, p99 = (median(run[figure] for run in runs[name]) for figure in ("p50", "p99"))
        axes.plot((p50, p99), (place, place), color="C0", linewidth=2)
        axes.plot(p50, place, "o", color="C0", label="p50" if not place else None)
        axes.plot(p99, place, "s", color="C3", label="p99" if not place else None)
    axes.set_yticks(range(len(names)), reversed(names))
    axes.set_xscale("log")
    axes.set_xlabel("seconds to the answer")
    axes.legend()


def shares(axes: Axes, runs: dict[str, list[Run]]) -> None:
    for name, same in runs.items():
        by_agent = zip(*(run["shares"] for run in same), strict=True)
        # The first two are absent for a while.
        percents = [100 * median(figures) for figures in by_agent][2:]
        axes.plot(range(3, len(percents) + 3), percents, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("agents, the fastest first")
    axes.set_ylabel("% of the messages")
    axes.legend(fontsize="small")


def main(source: Path, directory: Path) -> None:
    runs = json.loads(source.read_text(encoding="utf-8"))["runs"]
    by_name: dict[str, list[Run]] = {}
    for (policy, brokers), name in KINDS.items():
        kind = (EVEN, policy, brokers)
        same = [run for run in runs if (run["scenario"], run["policy"], run["brokers"]) == kind]
        if same:
            by_name[name] = same
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    answer_times(left, by_name)
    shares(right, by_name)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(directory / "policies.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
