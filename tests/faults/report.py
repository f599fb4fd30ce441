"""The results, for people and for programs."""

from collections.abc import Sequence
from pathlib import Path

from tests.bench import document
from tests.bench.environment import PEER_PYTHON, ROOT
from tests.bench.markdown import table
from tests.bench.output import draw
from tests.faults.run_scenario import Result

_HEAD = (
    *("scenario", "fault", "messages", "lost", "unexpected", "duplicates"),
    *("faults", "time to recover", "seed", "verdict"),
)


_DOCUMENT = ROOT / "docs" / "reliability.md"


def write(results: Sequence[Result], directory: Path, *, into_documents: bool) -> bool:
    """Write figures, tables and plots, and return whether there was what plots take."""
    tables = f"\n{markdown(results)}"
    raw = document.write(results, tables, directory, _DOCUMENT if into_documents else None)
    if not any(result.samples for result in results):
        return True
    if not PEER_PYTHON.exists():
        return False
    draw(Path(__file__), raw, _DOCUMENT.with_suffix("") if into_documents else directory)
    return True


def markdown(results: Sequence[Result]) -> str:
    return "\n".join(table(_HEAD, map(_row, results))) + "\n"


def line(result: Result) -> str:
    return (
        f"{result.scenario:23} {_verdict(result):6} {result.confirmed:>9,} confirmed"
        f" {_number(result.lost)} lost, {_number(result.unexpected)} unexpected,"
        f" {_number(result.duplicates)} duplicates, {result.faults} faults,"
        f" {_recovery(result) or 'no time'} to recover, {result.seconds:.0f} s, seed {result.seed}"
    )


def complaint(result: Result) -> str:
    """Return what is wrong, where the log is, and the command that repeats it."""
    return "\n".join(
        (
            f"{result.scenario}: {result.fault}",
            *(f"  {problem}" for problem in result.problems),
            f"  the broker's log is in {result.kept}",
            f"  to repeat it: {result.replay}",
        )
    )


def _row(result: Result) -> Sequence[str]:
    return (
        result.scenario,
        result.fault,
        f"{result.confirmed:,}",
        _number(result.lost),
        _number(result.unexpected),
        _number(result.duplicates),
        f"{result.faults:,}",
        _recovery(result),
        str(result.seed),
        _verdict(result),
    )


def _number(figure: int | None) -> str:
    return "?" if figure is None else f"{figure:,}"


def _recovery(result: Result) -> str:
    return "" if result.worst_recovery is None else f"{result.worst_recovery:.1f} s"


def _verdict(result: Result) -> str:
    return "FAILED" if result.problems else "passed"
