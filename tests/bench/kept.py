"""Raw figures that documents show: a file for each version of RabbitMQ that was measured."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.bench.environment import ROOT

PERFORMANCE = ROOT / "docs" / "performance"
SCALING = ROOT / "docs" / "scaling"
RELIABILITY = ROOT / "docs" / "reliability"
ROUTING = ROOT / "docs" / "routing" / "results.json"


def write_raw(results: object, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return path


def write_all(results: object, tables: str, directory: Path) -> Path:
    """Write figures and tables into a directory, and return the file with the figures."""
    raw = write_raw(results, directory / "results.json")
    (directory / "results.md").write_text(tables, encoding="utf-8")
    return raw


def keep(results: object, rabbitmq: str, directory: Path) -> bool:
    """Keep figures in place of others of that version; return whether no newer one is kept."""
    version = short(rabbitmq)
    write_raw(results, directory / f"rabbitmq-{version}.json")
    return version == list(_paths(directory))[-1]


def kept[T](kind: type[T], directory: Path) -> Mapping[str, T]:
    """Return what is kept by version, the oldest first."""
    return {
        version: msgspec.json.decode(path.read_bytes(), type=kind)
        for version, path in _paths(directory).items()
    }


def short(rabbitmq: str) -> str:
    """Return the first two numbers of a version."""
    return ".".join(rabbitmq.split(".")[:2])


def _paths(directory: Path) -> Mapping[str, Path]:
    found = {
        path.stem.removeprefix("rabbitmq-"): path for path in directory.glob("rabbitmq-*.json")
    }
    return dict(sorted(found.items(), key=lambda one: [int(part) for part in one[0].split(".")]))
