"""Draws the plots: `python plots.py results.json DIRECTORY`, with nothing of ours imported."""

# Not in the environment of the product, where the types are checked.
# mypy: disable-error-code="import-not-found"

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "broker"  # the same ids for the same picture

import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first
from matplotlib.axes import Axes  # noqa: E402

_MIB = 2**20
_COUNTS = {
    "open_files": "file descriptors",
    "threads": "threads",
    "trio_tasks": "Trio tasks",
    "asyncio_tasks": "asyncio tasks",
}


def memory(axes: Axes, samples: list[dict[str, Any]]) -> None:
    axes.plot(_minutes(samples), [sample["resident_bytes"] / _MIB for sample in samples])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("MiB")


def counts(axes: Axes, samples: list[dict[str, Any]]) -> None:
    for name, label in _COUNTS.items():
        axes.plot(_minutes(samples), [sample[name] for sample in samples], label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes")
    axes.legend(loc="lower right", ncols=2)


def _minutes(samples: list[dict[str, Any]]) -> list[float]:
    return [sample["seconds"] / 60 for sample in samples]


def main(source: Path, directory: Path) -> None:
    for result in json.loads(source.read_text(encoding="utf-8"))["results"]:
        if result["samples"]:
            figure, (upper, lower) = plt.subplots(
                2, sharex=True, figsize=(7, 5), layout="constrained"
            )
            memory(upper, result["samples"])
            counts(lower, result["samples"])
            for axes in (upper, lower):
                axes.grid(alpha=0.3)
            figure.savefig(directory / f"{result['scenario']}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
