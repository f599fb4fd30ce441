"""Writes the results: raw figures, tables, and docs/scaling.md."""

from pathlib import Path

from tests.bench.document import renew
from tests.bench.environment import ROOT
from tests.bench.output import write_raw
from tests.bench.scale.report import markdown
from tests.bench.scale.results import ScaleResults

_DOCUMENT = ROOT / "docs" / "scaling.md"


def write_scale(results: ScaleResults, directory: Path, *, into_documents: bool) -> None:
    write_raw(results, directory)
    (directory / "results.md").write_text(markdown(results), encoding="utf-8")
    if into_documents:
        write_raw(results, _DOCUMENT.parent / _DOCUMENT.stem)
        renew(_DOCUMENT, markdown(results))
