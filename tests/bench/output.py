"""Writes the results, with plots, and the document of a full run."""

import subprocess
from pathlib import Path

from tests.bench import document
from tests.bench.environment import PEER_PYTHON, ROOT
from tests.bench.report import markdown
from tests.bench.results import Results

_DOCUMENT = ROOT / "docs" / "performance.md"


def write(results: Results, directory: Path, *, into_documents: bool) -> None:
    tables = markdown(results)
    raw = document.write(results, tables, directory, _DOCUMENT if into_documents else None)
    draw(Path(__file__), raw, directory)
    if into_documents:
        beside = _DOCUMENT.with_suffix("")
        draw(Path(__file__), document.write_raw(results, beside), beside)


def draw(module: Path, raw: Path, directory: Path) -> None:
    """Draw figures by the `plots.py` beside a module."""
    subprocess.run([PEER_PYTHON, module.with_name("plots.py"), raw, directory], check=True)
