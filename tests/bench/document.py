"""Writes results: raw figures, tables, and documents with tables between two marks."""

import re
from pathlib import Path

import msgspec

_MARKED = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)


def write(results: object, tables: str, directory: Path, document: Path | None = None) -> Path:
    """Write figures and tables into a directory, and the tables into a document.

    Returns:
        The file with the figures.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.md").write_text(tables, encoding="utf-8")
    if document is not None:
        text = document.read_text(encoding="utf-8")
        document.write_text(_MARKED.sub(lambda _: f"{tables}\n", text), encoding="utf-8")
    return write_raw(results, directory)


def write_raw(results: object, directory: Path) -> Path:
    raw = directory / "results.json"
    raw.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return raw
