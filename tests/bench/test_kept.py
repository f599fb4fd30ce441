"""Figures of several versions of RabbitMQ are kept beside each other, and shown in one table."""

from pathlib import Path

from tests.bench.kept import keep, kept, write_all
from tests.bench.markdown import side_by_side


def test_figures_take_the_place_of_those_of_the_same_version(tmp_path: Path) -> None:
    assert keep({"rate": 1}, "4.0.5", tmp_path)
    assert keep({"rate": 2}, "4.0.6", tmp_path)
    assert not keep({"rate": 3}, "3.10.8", tmp_path)
    assert keep({"rate": 4}, "10.0.0", tmp_path)
    found = kept(dict[str, int], tmp_path)
    assert list(found.items()) == [
        ("3.10", {"rate": 3}),
        ("4.0", {"rate": 2}),
        ("10.0", {"rate": 4}),
    ]


def test_what_is_written_elsewhere_is_not_kept(tmp_path: Path) -> None:
    raw = write_all({"rate": 1}, "| |\n", tmp_path)
    assert raw.read_text(encoding="utf-8") == '{\n "rate": 1\n}\n'
    assert kept(dict[str, int], tmp_path) == {}


def test_rows_of_the_same_stand_together() -> None:
    lines = side_by_side(
        ("contender", "rate"), 1, {"3.10": [("ours", "2"), ("C", "3")], "4.0": [("C", "5")]}
    )
    assert list(lines) == [
        "| contender | RabbitMQ | rate |",
        "|---|---|---|",
        "| ours | 3.10 | 2 |",
        "| C | 3.10 | 3 |",
        "| C | 4.0 | 5 |",
    ]
