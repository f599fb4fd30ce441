"""Draws the plots: `python plots.py results.json DIRECTORY`, with nothing of ours imported."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "broker"  # the same ids for the same picture

import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first
from matplotlib.axes import Axes  # noqa: E402

type Results = dict[str, Any]


def throughput(axes: Axes, results: Results) -> None:
    rates = defaultdict(list)
    for run in _sound(results["throughput"]):
        rates[run["contender"]].append(run["messages"] / run["seconds"])
    names = list(reversed(rates))
    medians = [median(rates[name]) for name in names]
    spread = [
        [middle - min(rates[name]) for name, middle in zip(names, medians, strict=True)],
        [max(rates[name]) - middle for name, middle in zip(names, medians, strict=True)],
    ]
    axes.barh(names, medians, xerr=spread, capsize=3)
    axes.set_xlabel("messages/s, median with slowest and fastest run")


def latency(axes: Axes, results: Results) -> None:
    points = defaultdict(list)
    for point in _sound(results["latency"]):
        points[point["contender"]].append(point)
    for number, (name, mine) in enumerate(points.items()):
        rates = sorted({point["rate"] for point in mine})
        for percentile, style in (("p50", "-"), ("p99", "--"), ("p999", ":")):
            axes.plot(
                rates,
                [
                    median(point[percentile] for point in mine if point["rate"] == rate)
                    for rate in rates
                ],
                style,
                marker="o",
                color=f"C{number}",
                label=f"{name} {percentile}",
            )
    axes.set_yscale("log")
    axes.set_xlabel("messages/s")
    axes.set_ylabel("ms")
    axes.legend()


def sizes(axes: Axes, results: Results) -> None:
    runs = defaultdict(list)
    for run in _sound(results["sizes"]):
        runs[run["contender"]].append((run["size"], run["messages"] / run["seconds"]))
    for name, mine in runs.items():
        axes.plot(*zip(*sorted(mine), strict=True), marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("bytes per message")
    axes.set_ylabel("messages/s")
    axes.legend()


def window(axes: Axes, results: Results) -> None:
    rates = defaultdict(list)
    for run in _sound(results["window"]):
        rates[run["prefetch"]].append(run["messages"] / run["seconds"])
    prefetches = sorted(rates)
    axes.plot(prefetches, [median(rates[prefetch]) for prefetch in prefetches], marker="o")
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("prefetch")
    axes.set_ylabel("messages/s")


def growth(axes: Axes, results: Results) -> None:
    points = results["growth"]
    agents = [point["agents"] for point in points]
    for name, label, scale in (
        ("route_microseconds", "routing decision", 1),
        ("delta_microseconds", "status of one agent", 1),
        ("full_update_milliseconds", "status of all agents", 1e3),
    ):
        axes.plot(agents, [point[name] * scale for point in points], marker="o", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("agents")
    axes.set_ylabel("us")
    axes.legend()


def _sound(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if not run["problems"]]


def main(source: Path, directory: Path) -> None:
    results = json.loads(source.read_text(encoding="utf-8"))
    for plot in (throughput, latency, sizes, window, growth):
        points = results[plot.__name__]
        if points:
            figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
            plot(axes, results)
            axes.grid(alpha=0.3)
            figure.savefig(directory / f"{plot.__name__}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
