"""The results, for people and for programs."""

from collections.abc import Mapping, Sequence

import msgspec

from tests.bench.markdown import side_by_side
from tests.faults.run_scenario import Result

_HEAD = (
    *("scenario", "fault", "messages", "lost", "unexpected", "duplicates"),
    *("faults", "time to recover", "seed", "verdict"),
)


class SuiteResults(msgspec.Struct):
    """The results of scenarios on one version of RabbitMQ."""

    rabbitmq: str
    results: list[Result]


def markdown(measured: Mapping[str, Sequence[Result]]) -> str:
    """Return one table.

    Args:
        measured: By version of RabbitMQ.
    """
    rows = {version: list(map(_row, results)) for version, results in measured.items()}
    return "\n".join(side_by_side(_HEAD, 2, rows)) + "\n"


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
