"""Writes the results: raw figures, tables, plots, and the document of a full run."""

import subprocess
from pathlib import Path

import msgspec

from tests.bench.document import renew
from tests.bench.environment import PEER_PYTHON, ROOT
from tests.bench.report import markdown
from tests.bench.results import Results

_DOCUMENT = ROOT / "docs" / "performance.md"


def write(results: Results, directory: Path, *, into_documents: bool) -> None:
    _write_and_draw(results, directory)
    (directory / "results.md").write_text(markdown(results), encoding="utf-8")
    if into_documents:
        _write_and_draw(results, _DOCUMENT.parent / _DOCUMENT.stem)
        renew(_DOCUMENT, markdown(results))


def _write_and_draw(results: Results, directory: Path) -> None:
    raw = write_raw(results, directory)
    plots = Path(__file__).with_name("plots.py")
    subprocess.run([PEER_PYTHON, plots, raw, directory], check=True)


def write_raw(results: object, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    raw = directory / "results.json"
    raw.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return raw
